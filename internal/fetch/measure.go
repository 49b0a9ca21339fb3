package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"
)

func measure(ctx context.Context, probes []Probe, o MeasureOptions) []Speed {
	if o.Bytes <= 0 {
		o.Bytes = 1 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	late := 2 * o.Timeout // the probe's own limit comes first
	opts := Options{DialTimeout: late, HeaderTimeout: late, StallTimeout: late,
		Logins: o.Logins, Certs: o.Certs, Credentials: o.Credentials, Netrc: o.Netrc, PerHost: 1}.defaults()
	l, lerr := readLogins(opts)
	asked := newReach(nil)
	client := newClient(opts, asked)
	defer client.CloseIdleConnections()
	out := make([]Speed, len(probes))
	var g errgroup.Group
	g.SetLimit(o.Parallel)
	for i, p := range probes {
		g.Go(func() error {
			s := Speed{Name: p.Name, URL: redactString(p.URL)}
			u, err := url.Parse(p.URL)
			switch {
			case lerr != nil:
				s.Err = lerr
			case err != nil || u.Host == "":
				s.Err = fmt.Errorf("measure mirror %q: not a url with a host", p.Name)
			case asked.begin(u) != nil:
				s.Err = fmt.Errorf("measure mirror %q: %w", p.Name, asked.begin(u))
			default:
				if err := probe(ctx, client, l, u, o, &s); err != nil {
					s.Err = fmt.Errorf("measure mirror %q: %w", p.Name, redacted{err})
				}
			}
			out[i] = s
			return nil
		})
	}
	_ = g.Wait() // each probe keeps its own error
	return out
}

// probe reads the beginning of a file and notes how fast it came.
func probe(ctx context.Context, client *http.Client, l logins, u *url.URL, o MeasureOptions, s *Speed) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no answer within %s", o.Timeout))
	defer cancel()
	var first time.Time
	start := time.Now()
	tctx := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { first = time.Now() }})
	bare := *u
	bare.User = nil
	req, err := http.NewRequestWithContext(tctx, http.MethodGet, bare.String(), nil)
	if err != nil {
		return plain(ctx, err)
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", o.Bytes-1))
	if user, pass, ok := l.find(ctx, u); ok {
		req.SetBasicAuth(user, pass)
	}
	resp, err := client.Do(req)
	if err != nil {
		if context.Cause(ctx) != nil {
			return context.Cause(ctx)
		}
		return explain(u, plain(ctx, err))
	}
	defer shut(resp.Body)
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return proxyLogin(u)
	}
	if resp.StatusCode >= 400 {
		return &statusError{code: resp.StatusCode}
	}
	s.Latency = first.Sub(start)
	s.Bytes, err = io.Copy(io.Discard, io.LimitReader(resp.Body, o.Bytes))
	took := max(time.Since(first), time.Millisecond)
	s.BytesPerSecond = float64(s.Bytes) / took.Seconds()
	switch cause := context.Cause(ctx); {
	case err == nil, cause != nil && s.Bytes > 0: // slow, but that is a figure
		return nil
	case cause != nil:
		return cause
	}
	return plain(ctx, err)
}
