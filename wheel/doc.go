// Package wheel turns Python wheels into layers of container images without unpacking them.
//
// A wheel is a ZIP archive: each member is a raw DEFLATE stream with its CRC-32 and size in the
// archive's directory (APPNOTE.TXT 4.3). A gzip file is a row of members, each a header, a raw
// DEFLATE stream, a CRC-32 and a size (RFC 1952, 2.2). So a layer, which is a tar file in gzip, can
// hold the wheel's own compressed bytes: a member for a file's tar header, a member with the
// wheel's stream as it is, and so on. Nothing is compressed again. Each stream is inflated once,
// beside the copy, for the layer's uncompressed digest and to check the wheel.
//
// The layer holds the files that pip installs, at the places where pip puts them: [Wheel.Layer]
// says which rules it follows. It has no byte code, because only a Python can make it.
//
// A layer is a function of the wheel's bytes, the [Target] and [Version]. It needs no root, no
// Python, no container engine, and no Linux. Memory does not grow with the size of a wheel, but
// with the number of its files: some 500 bytes each.
//
// [Open] refuses an archive that two programs could read in two ways, a name that leads out of the
// environment, and a member that is larger than it says.
package wheel
