package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// dockerfile is the image as an expert writes it: what changes least comes first, downloads lie in
// cache mounts and files that are needed once in bind mounts, everything is pinned to the versions
// of raybuild's lock, each big wheel and Ray have a step of their own, and what is copied does not
// stand on what comes before it. There is no "# syntax" line: the frontend is the one that is
// linked into the engine. link is whether that knows COPY --link and ADD --checksum.
func dockerfile(v *variation, mirrors, link bool) string {
	var b strings.Builder
	b.WriteString("ARG BASE\n\n" + dockerfileHead(link, ""))
	for _, name := range append(bigWheels(), "requirements", "ray") {
		fmt.Fprintf(&b, dockerfilePip, name, pinned)
	}
	b.WriteString(dockerfileTail(v, mirrors, link))
	return b.String()
}

// dockerfileHead is the Dockerfile up to the environment. conda are options of conda's that say
// where its packages are, for a list that does not.
func dockerfileHead(link bool, conda string) string {
	checked, argument, sum := "--checksum=sha256:${INSTALLER_SHA256} ", "", ""
	if !link {
		checked, argument, sum = "", "ARG INSTALLER_SHA256\n",
			`echo "${INSTALLER_SHA256}  /tmp/installer.sh" | sha256sum -c - && `
	}
	return fmt.Sprintf(dockerfileStages, checked, argument, sum, conda)
}

// dockerfileTail is the Dockerfile from the last wheel on.
func dockerfileTail(v *variation, mirrors, link bool) string {
	linked := ""
	if link {
		linked = "--link "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "COPY %sactivate.sh /etc/profile.d/raybuild.sh\n", linked)
	if mirrors {
		fmt.Fprintf(&b, "COPY %smirrors /\n", linked)
	}
	fmt.Fprintf(&b, "COPY %s--chown=1000:100 app /home/ray/app\n", linked)
	b.WriteString("USER 1000:100\nWORKDIR /home/ray\nCMD [\"/bin/bash\"]\n")
	for _, k := range slices.Sorted(maps.Keys(v.labels)) {
		fmt.Fprintf(&b, "LABEL %s=%q\n", k, v.labels[k])
	}
	return b.String()
}

const dockerfileStages = `FROM scratch AS installer
ARG INSTALLER_URL
ARG INSTALLER_SHA256
ADD %s${INSTALLER_URL} /installer.sh

FROM ${BASE} AS system
ENV LANG=C.UTF-8
RUN useradd --uid 1000 --gid 100 --no-create-home --shell /bin/bash ray && install -d -o 1000 -g 100 /home/ray

RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=tmpfs,target=/var/log \
    --mount=type=bind,source=debian.sources,target=/etc/apt/sources.list.d/debian.sources \
    --mount=type=bind,source=apt.txt,target=/tmp/apt.txt \
    apt-get update -q && xargs apt-get install -yq --no-install-recommends < /tmp/apt.txt

FROM system
%sRUN --mount=type=bind,from=installer,source=/installer.sh,target=/tmp/installer.sh \
    %ssh /tmp/installer.sh -b -p /opt/conda && rm -rf /opt/conda/pkgs

RUN --mount=type=cache,target=/opt/conda/pkgs,sharing=locked \
    --mount=type=bind,source=explicit.txt,target=/tmp/explicit.txt \
    CONDA_REGISTER_ENVS=false /opt/conda/bin/conda create -yq -p /opt/conda/envs/ray %s--file /tmp/explicit.txt

ENV CONDA_DEFAULT_ENV=ray \
    CONDA_PREFIX=/opt/conda/envs/ray \
    HOME=/home/ray \
    PATH=/opt/conda/envs/ray/bin:/opt/conda/condabin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

ARG PIP_INDEX_URL
`

// pinned are the options, of pip's and uv's, for a list that has all that is needed.
const pinned = "--no-deps --require-hashes "

// dockerfilePip is the step that installs a list, with options.
const dockerfilePip = `RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=%[1]s.txt,target=/tmp/%[1]s.txt \
    HOME=/root pip install -q %[2]s--disable-pip-version-check --root-user-action=ignore -r /tmp/%[1]s.txt
`
