package layers

// Requirement is one PEP 508 requirement.
type Requirement struct {
	// Name is normalised by PEP 503.
	Name string
	// Extras are normalised and sorted.
	Extras []string
	// Specifier such as ">=1.0,<2"; "" for any version.
	Specifier string
	// Marker such as `python_version < "3.8"`; "" for none.
	Marker string
	// Hashes as "sha256:HEX", from a requirements file.
	Hashes []string
}

// EnvFile is the content of an environment.yml.
type EnvFile struct {
	Name string
	// Channels in order, Conda the MatchSpecs, Pip the requirements below "pip:".
	Channels, Conda, Pip []string
}
