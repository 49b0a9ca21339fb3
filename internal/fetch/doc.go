// Package fetch brings artifacts by digest: it turns a sha256 digest into a stream of bytes, from a content-addressed
// store on disk or from the mirrors of the artifact's canonical URL, tried in their order.
//
// Mirrors are transport, not content. An artifact is named by its digest and its canonical URL; where its bytes come
// from (mirror, proxy, credentials, resumed download) is decided here and is visible nowhere else. The digest is
// checked before the last byte is handed out, so a wrong, cut or tampered download can never be used.
//
// The same rules serve the package resolvers (apt-get, conda, pip) that run without a network: Gateway is a forward
// proxy for canonical http:// URLs, which it answers from the mirrors. What passes through it as a whole artifact is
// kept in the store, so nothing is downloaded twice.
package fetch
