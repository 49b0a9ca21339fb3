//go:build !unix

package raybuild

import "io/fs"

// onDisk is a file's identity, and the space that it takes on disk: here its size, and no identity.
func onDisk(info fs.FileInfo) (fileID, int64) { return fileID{}, info.Size() }
