package main

// cause says why a row may fall short: what of the work is there for everybody, or for raybuild alone.
type cause struct{ seconds, pulled string }

func causes() map[string]cause {
	const config = "the config alone, or a small file, is new, and both sides do little; raybuild reads the image " +
		"before and its record, and attaches lock and inputs to the new one"
	return map[string]cause{
		"cold": {seconds: "the longest chain is base, Miniconda, environment, the biggest wheel and its " +
			"layer on both sides, most of it one program on one CPU, the layer's gzip above all; raybuild packs " +
			"layers meanwhile, and installs wheels side by side"},
		"same-warm": {seconds: "both take some hundredths of a second, most of which is the start of a program"},
		"apt-list": {seconds: "apt's step and its push are all that is done; the Dockerfile's later steps find " +
			"their downloads in cache mounts"},
		"base-patched": {pulled: "a base whose every byte may have changed is pulled by everybody; apt's layer " +
			"comes on top"},
		"miniconda": {
			seconds: "the installer and the environment's step run on both sides; the environment comes out as it " +
				"was, so that no wheel is installed again",
			pulled: "Miniconda's layer is new for everybody, and all that is",
		},
		"python-patch": {
			seconds: "wheels are installed by the environment's own Python, so that their steps run again, as the " +
				"Dockerfile's do; they come out as they were",
			pulled: "the environment's layer is new for everybody, and all that is",
		},
		"ray-bumped": {
			seconds: "Ray's step, packing and push are the same work on both sides, and the Dockerfile's last step; " +
				"raybuild attaches lock and inputs besides",
			pulled: "Ray's layer is new for everybody, and the only big one that is: an expert's " +
				"Dockerfile has it last",
		},
		"small-added": {
			seconds: "packages share a layer, whose step installs all of its group; the Dockerfile " +
				"installs all small ones and Ray",
			pulled: "the group of a third of the small packages is new",
		},
		"big-bumped": {
			seconds: "the wheel's step, packing and push are the same work on both sides; the Dockerfile does the " +
				"small ones and Ray besides",
			pulled: "the wheel's layer is new for everybody: of what comes after it, the Dockerfile pulls as well",
		},
		"image-mirrors": {seconds: config, pulled: "a few small files on both sides, and the config"},
		"own-file":      {seconds: config, pulled: "a few small files on both sides, and the config"},
		"label":         {seconds: config, pulled: "the config on both sides"},
	}
}

// realCauses are those of rows in which images of real wheels differ.
func realCauses() map[string]cause {
	const grouped = "the small packages' layers, whose group the package is in, are new"
	return map[string]cause{
		"first": {seconds: "raybuild resolves before it builds, by apt, conda and pip, and pip's resolver takes most " +
			"of that; uv's takes a second or two"},
		"cold": {seconds: "the longest chain is base, Miniconda, environment, the biggest wheel and its " +
			"layer on both sides, the layer's gzip above all; raybuild packs layers meanwhile, and installs wheels " +
			"side by side"},
		"ray-bumped": {
			seconds: "Ray's step, packing and push are the same work on both sides, and a step of its own on both",
			pulled: "Ray's layer is new for everybody, and the only big one that is: an expert's " +
				"Dockerfile has it last",
		},
		"small-added": {
			seconds: "the package shares a layer with others, and the step of its group installs them all; the " +
				"Dockerfile's further line installs it alone",
			pulled: grouped + "; the Dockerfile's further line is a layer of the package alone",
		},
		"medium-bumped": {
			seconds: "the step of the package's group, packing and push; the Dockerfile installs all packages " +
				"but torch again",
			pulled: grouped + ", or the package's own is",
		},
		"big-bumped": {
			seconds: "torch, and those of its CUDA libraries that it wants newer, are the same work on both sides; " +
				"the Dockerfile does what comes after them besides",
			pulled: "torch's layer and those of its libraries are new for everybody; of what comes after them, the " +
				"Dockerfile pulls as well",
		},
	}
}
