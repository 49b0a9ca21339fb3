// Package cachetest has servers for the tests of build caches: S3 by an implementation of its API,
// and stand-ins of GitHub Actions' cache service and of Azure's blob service, which cannot be had
// elsewhere. Nothing of raybuild itself uses it.
package cachetest
