package registry

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentialsAreThoseOfDockerLogin(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	basic := base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	config := `{"auths": {"registry.example:5000": {"auth": "` + basic + `"}, "token.example": {"auth": "` +
		basic + `", "identitytoken": "refresh"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := New(Options{})
	for host, want := range map[string]Credentials{
		"registry.example:5000": {Username: "me", Password: "s3cret"},
		"token.example":         {Username: "me", Password: "s3cret", IdentityToken: "refresh"},
		"other.example":         {},
	} {
		t.Run(host, func(t *testing.T) {
			got, err := c.Credentials(t.Context(), host)
			if err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestCredentialsRefuseWhatIsNoRegistry(t *testing.T) {
	t.Parallel()
	_, err := New(Options{}).Credentials(t.Context(), "not a host")
	if err == nil || !strings.Contains(err.Error(), `read registry "not a host"`) {
		t.Errorf("got %v", err)
	}
}

func TestCredentialsOfABrokenConfigurationAreAnError(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := New(Options{}).Credentials(t.Context(), "registry.example"); err == nil {
		t.Errorf("got %+v", got)
	}
}
