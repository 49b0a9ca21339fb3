// Package wheel turns Python wheels into layers of container images without unpacking them.
//
// A wheel is a ZIP archive: each member is a raw DEFLATE stream with its CRC-32 and size in the
// archive's directory (APPNOTE.TXT 4.3). A gzip file is a row of members, each a header, a raw
// DEFLATE stream, a CRC-32 and a size (RFC 1952, 2.2). So a layer, which is a tar file in gzip, can
// hold the wheel's own compressed bytes: a member for a file's tar header, a member with the
// wheel's stream as it is, and so on. Nothing is compressed again. Each stream is inflated once,
// beside the copy, for the layer's uncompressed digest and to check the wheel.
//
// # What a layer holds
//
// The layer holds the files that pip installs, at the places where pip puts them, for one wheel
// ([Wheel.Layer]) or several that are installed in an order ([WriteLayer]): the last wheel's file
// stays where wheels bring the same one. [Layer.Conflicts] names those that differ, and [Conflicts]
// finds them before anything is written, in wheels of several layers, too.
//
// Tests compare with pip. What differs: RECORD's order; RECORD has a command once that is one of
// console_scripts and of gui_scripts; and byte code, see below. pip installs what this package
// refuses: a name that is not a clean relative path or is there twice, a link, an archive whose
// headers and directory differ, and a file that has another hash than RECORD says.
//
// # Byte code
//
// Only a Python makes byte code. [Options] take a [Compiler] that runs one: [Write] inflates each
// source once more, gives it to the compiler, and compresses the result, on all CPUs, while the
// wheels' own files are written. The .pyc files follow these, and RECORD comes last. Sources of the
// library get byte code. pip compiles two kinds more: sources in bin or share, and packages' own
// tests, which are those below a directory named tests. Programs do not import these, and they are
// a third of all sources of numpy, pandas, scipy and pyarrow. Python compiles them when it imports
// them. What [Wheel.Compile] gives can be kept: with it a layer takes no longer than without byte
// code.
//
// A wheel whose layer lies above another's can overwrite a source there. If its own source is not
// valid, the other's byte code stays, and Python would run that: such wheels belong into one layer.
//
// # Other forms of layers
//
// [Write] cuts wheels into several layers, each of which is written by itself, and adds eStargz's
// table of contents. Both are off unless [Options] ask for them. A cut falls between files: torch has
// one of 362 MB, compressed.
//
// # Digests, memory, safety
//
// A layer is a function of the wheels' bytes, their fields and order, the [Target], the [Options],
// the compiler's results, and [Version]. Machine, time and number of CPUs do not matter. It needs no
// root, no Python unless there is byte code to make, no container engine, and no Linux.
//
// Memory does not grow with the size of a wheel, but with the number of its files, some 1,000 bytes
// each, and with byte code, which is kept until it is written. torch 2.15 has 13,187 files in 540 MB:
// it took 40 to 60 MB of memory, and 200 MB with 25 MB of compressed byte code.
//
// [Open] refuses an archive that two programs could read in two ways, a name that leads out of the
// environment, and a member that is larger than it says.
package wheel
