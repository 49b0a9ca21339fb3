package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
)

// condaError is an error with the name that conda gives it.
type condaError struct {
	name, message string
	extra         map[string]any
}

func (e *condaError) Error() string { return e.name + ": " + e.message }

// json is the error as --json prints it. There is no key "success" in it; observed on conda 26.7.1.
func (e *condaError) json() map[string]any {
	out := map[string]any{
		"error": e.name + ": " + e.message, "message": e.message, "exception_name": e.name,
		"exception_type": "<class 'conda.exceptions." + e.name + "'>",
	}
	maps.Copy(out, e.extra)
	return out
}

func newError(name, format string, args ...any) error {
	return &condaError{name: name, message: fmt.Sprintf(format, args...)}
}

// packagesNotFound is PackagesNotFoundInChannelsError on 26.7.1 and PackagesNotFoundError on
// 24.11.3 (observed); the change is taken to have come with 25.
func packagesNotFound(version string, specs, urls []string) error {
	name := "PackagesNotFoundInChannelsError"
	if compareVersions(version, "25") < 0 {
		name = "PackagesNotFoundError"
	}
	return &condaError{
		name: name,
		message: "The following packages are not available from current channels:\n\n  - " +
			strings.Join(specs, "\n  - ") + "\n\nCurrent channels:\n\n  - " + strings.Join(urls, "\n  - ") + "\n",
		extra: map[string]any{"packages": specs, "channel_urls": urls},
	}
}

// httpError has status_code as a string "000" for a connection that failed; observed on conda 26.7.1.
func httpError(url, reason string, status any, cause error) error {
	e := &condaError{
		name: "CondaHTTPError",
		message: fmt.Sprintf("HTTP %v %s for url <%s>\nElapsed: -\n\n"+
			"An HTTP error occurred when trying to retrieve this URL.\n"+
			"HTTP errors are often intermittent, and a simple retry will get you on your way.", status, reason, url),
		extra: map[string]any{"status_code": status, "url": url, "reason": reason},
	}
	if cause != nil {
		e.extra["caused_by"] = cause.Error()
	}
	return e
}

// invalidChannel has status_code as a number; observed on conda 26.7.1.
func invalidChannel(url string, status int) error {
	return &condaError{
		name: "UnavailableInvalidChannel",
		message: fmt.Sprintf("HTTP %d NOT FOUND for channel <%s>\n\n"+
			"The channel is not accessible or is invalid.\n", status, url),
		extra: map[string]any{"status_code": status, "channel_url": url, "channel_name": channelName(url)},
	}
}

// offlineError is the misleading answer to a package that is in no cache, or in one with another
// digest; observed on conda 26.7.1.
func offlineError(url string) error {
	return newError("OfflineError", "EnforceUnusedAdapter called with url %s\n"+
		"This command is using a remote connection in offline mode.", url)
}

func checksumMismatch(url, file, kind, want, got string) error {
	return newError("ChecksumMismatchError", "Conda detected a mismatch between the expected content and downloaded "+
		"content\nfor url '%s'.\n  download saved to: %s\n  expected %s: %s\n  actual %s: %s\n", url, file, kind,
		want, kind, got)
}

func writeJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	// The only failure is a closed stdout, which leaves nobody to tell.
	_ = enc.Encode(v)
}
