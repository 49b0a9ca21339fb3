// Package cachetest has servers for the tests of build caches: S3 by an implementation of its API, and a stand-in of GitHub
// Actions' cache service, which cannot be had elsewhere than at GitHub. Nothing of raybuild itself uses it.
package cachetest
