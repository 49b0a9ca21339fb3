package layers

// Mirror is a set of places that carry copies of the canonical sources. An
// empty field means that the mirror does not carry that source.
type Mirror struct {
	// Name is the preset's name, or the host of the first URL of an own mirror.
	Name string
	// Own tells that the recipe gave the URLs.
	Own bool
	// Ubuntu is the root of the archive for amd64 and i386; Ports that of the
	// other architectures; OldReleases that of releases past their end of life.
	Ubuntu, UbuntuSecurity, Ports, OldReleases string
	// Debian and DebianSecurity are the roots of Debian's archives.
	Debian, DebianSecurity string
	// CondaPkgs is the directory that holds main and r; CondaCloud the one that
	// holds conda-forge and other channels.
	CondaPkgs, CondaCloud string
	// CondaChannels limits CondaCloud to these channels. Default: all.
	CondaChannels []string
	// PipIndex is the PEP 503 root, PipFiles the root of the files (what
	// https://files.pythonhosted.org is for PyPI).
	PipIndex, PipFiles string
	// Miniconda and Miniforge are the directories that hold the installers.
	Miniconda, Miniforge string
}

// Candidate is one place where a file can be fetched from.
type Candidate struct {
	// Mirror names the mirror that the place belongs to.
	Mirror string
	// URL of the file. Empty where only Index can tell.
	URL string
	// Index is the PEP 503 page on which to look the file's name up where URL is empty.
	Index string
}

// MirrorFile is a file of the image's mirror configuration.
type MirrorFile struct {
	// Path is absolute in the image.
	Path string
	// Content is the whole file.
	Content string
	// Backup tells that a file of this path may be there and is kept as Path + ".bak".
	Backup bool
}
