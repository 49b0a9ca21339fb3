package layers

import _ "embed" // the scripts of the steps

// A step's script is one constant text, because the text is in the key of the
// step: the same prelude, the functions that it calls, and its own part.
var (
	//go:embed scripts/prelude.sh
	preludeText string
	//go:embed scripts/history.sh
	historyText string
	//go:embed scripts/online.sh
	onlineText string
	//go:embed scripts/user.sh
	userText string
	//go:embed scripts/apt-install.sh
	aptInstallText string
	//go:embed scripts/apt-resolve.sh
	aptResolveText string
	//go:embed scripts/originals.sh
	originalsText string
	//go:embed scripts/miniconda.sh
	minicondaText string
	//go:embed scripts/apt-debconf.sh
	aptDebconfText string
	//go:embed scripts/env-create.sh
	envCreateText string
	//go:embed scripts/env-activate.sh
	envActivateText string
	//go:embed scripts/env-replaced.sh
	envReplacedText string
	//go:embed scripts/env-resolve.sh
	envResolveText string
	//go:embed scripts/wheel-install.sh
	wheelInstallText string
	//go:embed scripts/wheel-install.py
	wheelInstallProgram string
	//go:embed scripts/pip-resolve.sh
	pipResolveText string
	//go:embed scripts/wheel-build.sh
	wheelBuildText string
	//go:embed scripts/wheel-build-open.sh
	wheelBuildOpenText string
	//go:embed scripts/build-needs.sh
	buildNeedsText string
	//go:embed scripts/build-hooks.sh
	buildHooksText string
	//go:embed scripts/smoke.py
	smokeProgram string
	//go:embed scripts/step.sh
	stepText string
	//go:embed scripts/step-activate.sh
	stepActivateText string
	//go:embed scripts/bridge.pl
	bridgeText string
)
