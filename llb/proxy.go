package llb

import (
	bkllb "github.com/moby/buildkit/client/llb"
)

// Proxy is how commands with a network reach it: the values of HTTP_PROXY and its relatives, which a command has in
// upper case and in lower case. It says nothing of a command's result, so it is in no digest, in no cache key and not
// in the image.
type Proxy struct {
	HTTP, HTTPS, FTP, All string
	Except                string // the value of NO_PROXY
}

// option gives a command its variables. A solve's operations have other digests with it, and the same keys in caches
// (github.com/moby/buildkit/solver/llbsolver/ops/exec.go, CacheMap).
func (p Proxy) option() []bkllb.RunOption {
	if p == (Proxy{}) {
		return nil
	}
	return []bkllb.RunOption{bkllb.WithProxy(bkllb.ProxyEnv{HTTPProxy: p.HTTP, HTTPSProxy: p.HTTPS, FTPProxy: p.FTP,
		AllProxy: p.All, NoProxy: p.Except})}
}
