package sbom

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// condaRecord is what is read of a conda-meta/NAME.json: the record of a channel's index, with where the package came
// from. Source: conda.models.records.PrefixRecord.
type condaRecord struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Build   string   `json:"build"`
	Channel string   `json:"channel"`
	Subdir  string   `json:"subdir"`
	License any      `json:"license"` // old packages have other values than text
	URL     string   `json:"url"`
	SHA256  string   `json:"sha256"`
	Files   []string `json:"files"`
}

// ReadCondaMeta reads the record of a conda package in an environment. files are the package's, relative to the
// environment.
func ReadCondaMeta(data []byte) (p Part, files []string, err error) {
	var r condaRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return p, nil, fmt.Errorf("read conda-meta: %w", err)
	}
	p = Part{Kind: Conda, Name: plain(r.Name), Version: plain(r.Version), Build: plain(r.Build),
		Subdir: plain(r.Subdir), URL: PublicURL(r.URL), Channel: channelName(r.Channel)}
	if p.Name == "" || p.Version == "" {
		return p, nil, fmt.Errorf("read conda-meta: %w", errNoName)
	}
	if l, ok := r.License.(string); ok {
		p.License = short(l)
	}
	if IsSHA256(r.SHA256) {
		p.SHA256 = r.SHA256
	}
	return p, r.Files, nil
}

// channelName is the name of a channel, of its name or URL, without the subdirectory.
func channelName(channel string) string {
	u, err := url.Parse(channel)
	if err != nil || u.Host == "" {
		return plain(strings.Trim(channel, "/"))
	}
	u, err = url.Parse(PublicURL(channel))
	if err != nil {
		return ""
	}
	name := strings.Trim(u.Path, "/")
	if at := strings.LastIndex(name, "/"); at > 0 && (strings.HasPrefix(name[at+1:], "linux-") ||
		name[at+1:] == "noarch") {
		name = name[:at]
	}
	return plain(name)
}

// IsSHA256 tells whether a text is a SHA-256 in lower-case hex.
func IsSHA256(text string) bool {
	data, err := hex.DecodeString(text)
	return err == nil && len(data) == 32 && strings.ToLower(text) == text
}

// token is a password in a path, as conda's servers have it: /t/TOKEN/.
var token = sync.OnceValue(func() *regexp.Regexp { //nolint:gochecknoglobals // compiled once, when it is used
	return regexp.MustCompile(`/t/[^/]+/`)
})

// PublicURL is an http or https URL without user, password, token, query and fragment. "" for all others: a path on
// the machine that made it tells nobody anything.
func PublicURL(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = nil, "", "", "", false
	u.Path, u.RawPath = token().ReplaceAllString(u.Path, "/"), ""
	return u.String()
}
