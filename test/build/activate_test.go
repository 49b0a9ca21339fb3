package build

import (
	"strings"
	"testing"
)

// What conda activate sets for packages of the environment is there in login shells and in steps, also where scripts
// need bash. What the recipe sets counts more. Another home makes the same image. Case 22.
func TestCase22VariablesOfActivation(t *testing.T) {
	h := warmHome(t)
	recipe := strings.Replace(shortRecipe(`image: {env: {CC: own-cc}}
steps:
- name: variables
  needs: [env]
  run: |
    test "$JAVA_HOME" = /opt/conda/envs/ray/lib/jvm
    test "$CXX $CC" = "x86_64-conda-linux-gnu-g++ own-cc"
    test "$WORLD_LISTED" = "it's \"\$HOME\""
    test "${PATH%%:*}" = /opt/conda/envs/ray/nvvm/bin
    printf '%s' "$CFLAGS" >/opt/flags
- {name: without, needs: [apt], run: 'test -z "${JAVA_HOME-}"'}`), "channels: [conda-forge]",
		"channels: [conda-forge], conda: [world-activate, world-textprefix]", 1)
	h.write("raybuild.yaml", recipe)
	dst := ref(t, "1")
	digest := h.push(dst).meta.Digest
	if lock := h.read("raybuild.lock"); strings.Count(lock, "activates:") != 2 {
		t.Errorf("the lock names %d packages that want variables, want 2", strings.Count(lock, "activates:"))
	}
	login := func(test string) string {
		return "env -u PATH bash -lc '" + test + "' && env -u PATH sh -lc '" + test + "'"
	}
	for what, said := range inContainer(t, dst, map[string]string{
		"openjdk":           login(`test "$JAVA_HOME" = /opt/conda/envs/ray/lib/jvm`),
		"a script of bash":  login(`test "$CXX" = x86_64-conda-linux-gnu-g++`),
		"the recipe's own":  login(`test "$CC" = own-cc`),
		"another package's": login(`test "$WORLD_ACTIVATED" = 1`),
		"PATH":              login(`test "${PATH%%:*}" = /opt/conda/envs/ray/nvvm/bin && command -v ray`),
		"a step's flags":    `test "$(cat /opt/flags)" = "-O2 -isystem /opt/conda/envs/ray/include"`,
		"no backups":        login(`test -z "${CONDA_BACKUP_JAVA_HOME-}"`),
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
	again := warmLike(t, t.TempDir())
	again.write("raybuild.yaml", recipe)
	again.write("raybuild.lock", h.read("raybuild.lock"))
	if got := again.push(ref(t, "2"), "--frozen").meta.Digest; got != digest {
		t.Errorf("another builder makes %s, not %s", got, digest)
	}
	// An image without such packages has neither the note nor what reads it.
	for what, said := range inContainer(t, testEnv.Registry+"/warm:1", map[string]string{
		"note":    "! ls /opt/conda/envs/ray/etc/raybuild 2>/dev/null",
		"profile": "! grep activate.sh /etc/profile.d/raybuild.sh",
	}) {
		t.Errorf("%s:\n%s", what, said)
	}
}
