package layers

import (
	"strings"
	"testing"
)

// TestCase23DebconfAnswers: what is an answer, what is none, and that none can be a password.
func TestCase23DebconfAnswers(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"krb5-config krb5-config/default_realm string EXAMPLE.COM":                      "",
		"ttf-mscorefonts-installer msttcorefonts/accepted-mscorefonts-eula select true": "",
		"postfix\tpostfix/main_mailer_type\tselect\tNo configuration":                   "",
		"iptables-persistent iptables-persistent/autosave_v4 boolean true":              "",
		"tzdata tzdata/Areas select Europe":                                             "",
		"x x/empty string":                                                              "",
		"mysql-server mysql-server/root_password password geheim":                       "would be in the image",
		"mysql-server/root_password string x":                                           "is no answer of debconf",
		"x x/y strnig z":                                                                "is no type of debconf",
		"; rm -rf / string x":                                                           "is no answer of debconf",
	} {
		text := "apt: {packages: [less], debconf: [" + quoteYAML(answer) + "]}\n"
		_, err := LoadRecipe([]byte(text), "raybuild.yaml", nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", answer, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func quoteYAML(s string) string { return `"` + strings.ReplaceAll(s, "\t", `\t`) + `"` }

// TestCase23AnswersAreInTheKey: an answer changes the layer, and a recipe without one has the layer that it had.
func TestCase23AnswersAreInTheKey(t *testing.T) {
	t.Parallel()
	key := func(a Apt) string {
		s, err := apt{a}.inputs(Stack{}, "apt", nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.values[stepTextInput] + s.values["apt.debconf"]
	}
	plain := Apt{Packages: []string{"less"}}
	one, other := plain, plain
	one.Debconf, other.Debconf = []string{"a a/b string c"}, []string{"a a/b string d"}
	if key(plain) == key(one) || key(one) == key(other) {
		t.Error("answers are not in the layer's key")
	}
}
