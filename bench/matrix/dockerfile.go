package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// dockerfile is the image as an expert writes it: what changes least comes first, downloads lie in cache mounts and files that
// are needed once in bind mounts, everything is pinned to the versions of raybuild's lock, each big wheel and Ray have a step of
// their own, and what is copied does not stand on what comes before it. There is no "# syntax" line: the frontend is the one
// that is linked into the engine. link is whether that knows COPY --link and ADD --checksum.
func dockerfile(v *variation, mirrors, link bool) string {
	linked, checked, sum := "--link ", "--checksum=sha256:${INSTALLER_SHA256} ", ""
	if !link {
		linked, checked, sum = "", "", `echo "${INSTALLER_SHA256}  /tmp/installer.sh" | sha256sum -c - && `
	}
	var b strings.Builder
	fmt.Fprintf(&b, dockerfileHead, checked, argIf(!link, "ARG INSTALLER_SHA256\n"), sum)
	for _, name := range append(bigWheels(), "requirements", "ray") {
		fmt.Fprintf(&b, dockerfilePip, name)
	}
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

func argIf(yes bool, text string) string {
	if yes {
		return text
	}
	return ""
}

const dockerfileHead = `ARG BASE

FROM scratch AS installer
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
    CONDA_REGISTER_ENVS=false /opt/conda/bin/conda create -yq -p /opt/conda/envs/ray --file /tmp/explicit.txt

ENV CONDA_DEFAULT_ENV=ray \
    CONDA_PREFIX=/opt/conda/envs/ray \
    HOME=/home/ray \
    PATH=/opt/conda/envs/ray/bin:/opt/conda/condabin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

ARG PIP_INDEX_URL
`

// dockerfilePip is the step that installs a list.
const dockerfilePip = `RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=bind,source=%[1]s.txt,target=/tmp/%[1]s.txt \
    HOME=/root pip install -q --no-deps --require-hashes --disable-pip-version-check --root-user-action=ignore -r /tmp/%[1]s.txt
`
