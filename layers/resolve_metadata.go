package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// sourceMetadata is the metadata of the archives of sources among own, by file name: code of the project tells it, in
// the sandbox. It is errNeedsSandbox if the environment's pip is too old to hand it on.
func (r *Resolver) sourceMetadata(ctx context.Context, p python, own []Artifact) (map[string]string, error) {
	sources := slices.DeleteFunc(ofKind(own, KindSdist), func(a Artifact) bool { return r.told[a.SHA256] != "" })
	if len(sources) == 0 {
		return nil, nil
	}
	_, answer, err := r.askPip(ctx, p, pipQuestion{
		layer: "ray", wheels: sources, requirements: ownLines(sources), builds: len(p.apt.Packages) > 0,
		options: []string{"--no-deps", "--ignore-installed"},
	})
	if err != nil {
		return nil, err
	}
	if answer.report == nil {
		return nil, errNeedsSandbox
	}
	return reportedMetadata(answer.report)
}

// ownLines are files beside a question, as pip is asked for them.
func ownLines(own []Artifact) []string {
	var out []string
	for _, a := range own {
		line := work + "/own/" + a.Filename()
		if sub := a.For[forSubdirectory]; sub != "" {
			line = "file://" + line + "#subdirectory=" + sub
		}
		out = append(out, line)
	}
	return out
}

// reportedMetadata is the metadata of packages in pip's installation report, by the names of their files.
func reportedMetadata(data []byte) (map[string]string, error) {
	var report struct {
		Install []struct {
			DownloadInfo struct{ URL string } `json:"download_info"`
			Metadata     struct {
				Name, Version  string
				RequiresPython string   `json:"requires_python"`
				RequiresDist   []string `json:"requires_dist"`
				ProvidesExtra  []string `json:"provides_extra"`
			}
		}
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return nil, fmt.Errorf("read pip's report: %w", err)
	}
	out := map[string]string{}
	for _, i := range report.Install {
		m := i.Metadata
		lines := []string{"Metadata-Version: 2.1", "Name: " + m.Name, "Version: " + m.Version}
		if m.RequiresPython != "" {
			lines = append(lines, "Requires-Python: "+m.RequiresPython)
		}
		for _, text := range m.ProvidesExtra {
			lines = append(lines, "Provides-Extra: "+text)
		}
		for _, text := range m.RequiresDist {
			lines = append(lines, "Requires-Dist: "+text)
		}
		for n, line := range lines { // some tools break long lines
			lines[n] = strings.Join(strings.Fields(line), " ")
		}
		file := Artifact{Path: path.Base(i.DownloadInfo.URL)}.Filename()
		out[file] = strings.Join(lines, "\n") + "\n"
	}
	return out, nil
}
