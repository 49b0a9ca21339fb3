// Package fetch fetches artifacts by digest. It turns a sha256 digest into a stream of bytes. The
// bytes come from a content-addressed store on disk, or from the mirrors of the artifact's
// canonical URL, in their order.
//
// Mirrors are transport, not content. An artifact is named by its digest and its canonical URL.
// This package alone decides where its bytes come from (mirror, proxy, credentials, resumed
// download). It checks the digest before it hands out the last byte, so nobody can use a wrong, cut
// or changed download.
//
// The same rules serve the package resolvers (apt-get, conda, pip), which run without a network.
// The gateway ([Fetcher.ServeConn]) is a forward proxy for canonical http:// URLs, and answers them from the
// mirrors. It keeps whole artifacts in the store, so nothing is downloaded twice.
package fetch
