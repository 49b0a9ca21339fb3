package main

// cause says why a row may fall short: what of the work is there for everybody, or for raybuild alone.
type cause struct{ seconds, pulled string }

const (
	working = "both CPUs work until the last layer is there: raybuild inflates each wheel once, to check it, and " +
		"compiles its sources; then it tests the image, which the Dockerfile does not"
	onlyRay = "Ray's wheel is fetched, inflated, compiled and pushed on both sides; raybuild imports all packages " +
		"besides, to test the image, which the Dockerfile does not"
)

func causes() map[string]cause {
	const config = "the config alone, or a small file, is new, and both sides do little; raybuild reads the image " +
		"before and its record, and attaches lock and inputs to the new one"
	return map[string]cause{
		"cold":      {seconds: working},
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
			seconds: "the environment's step runs on both sides, and raybuild tests the image",
			pulled:  "the environment's layer is new for everybody, and all that is",
		},
		"ray-bumped": {
			seconds: onlyRay,
			pulled: "Ray's layer is new for everybody, and the only big one that is: an expert's " +
				"Dockerfile has it last",
		},
		"small-added": {
			seconds: "a layer of the package alone; the Dockerfile installs all small ones and Ray",
			pulled:  "the package's own layer is new; the Dockerfile's has all small ones",
		},
		"big-bumped": {
			seconds: "the wheel is inflated, compiled and pushed on both sides; the Dockerfile does the small ones " +
				"and Ray besides, and raybuild tests the image",
			pulled: "the wheel's layer is new for everybody: of what comes after it, the Dockerfile pulls as well",
		},
		"image-mirrors": {seconds: config, pulled: "a few small files on both sides, and the config"},
		"own-file":      {seconds: config, pulled: "a few small files on both sides, and the config"},
		"label":         {seconds: config, pulled: "the config on both sides"},
	}
}

// realCauses are those of rows in which images of real wheels differ.
func realCauses() map[string]cause {
	return map[string]cause{
		"first": {seconds: "raybuild resolves before it builds, apt and conda in the builder; " + working},
		"cold":  {seconds: working},
		"ray-bumped": {
			seconds: onlyRay,
			pulled: "Ray's layer is new for everybody, and the only big one that is: an expert's " +
				"Dockerfile has it last",
		},
		"small-added": {
			seconds: "a layer of the package alone on both sides",
			pulled:  "a layer of the package alone on both sides, and raybuild's with its byte code",
		},
		"medium-bumped": {
			seconds: "the package's layer is made and the image tested; the Dockerfile installs all packages but torch",
			pulled:  "the package's own layer is new; the Dockerfile's has all packages but torch",
		},
		"big-bumped": {
			seconds: "torch, and those of its CUDA libraries that it wants newer, are the same work on both sides; " +
				"the Dockerfile does what comes after them besides",
			pulled: "torch's layer and those of its libraries are new for everybody; of what comes after them, the " +
				"Dockerfile pulls as well",
		},
	}
}
