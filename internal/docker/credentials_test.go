package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigured(t *testing.T) {
	bin := t.TempDir()
	helper := `#!/bin/sh
read -r server || true
case $server in
token.example) echo '{"ServerURL":"token.example","Username":"<token>","Secret":"t0k"}' ;;
has.example) echo '{"ServerURL":"has.example","Username":"u","Secret":"s3cret"}' ;;
odd.example) echo 's3cret' ;;
broken.example) echo 's3cret in the output'; exit 2 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	// "YTpiOmM=" is "a:b:c".
	const auths = `{"auths": {"plain.example:5000": {"auth": "YTpiOmM="}, "https://url.example/v1/": {"auth": "YTpiOmM="},
		"https://index.docker.io/v1/": {"auth": "YTpiOmM="}, "id.example": {"auth": "YTo=", "identitytoken": "tok"}, "empty.example": {}, "bad.example": {"auth": "s3cret!"}}}`
	const helpers = `{"auths": {"other.example": {"auth": "YTpiOmM="}, "has.example": {}}, "credsStore": "test"}`
	user := func(server string) Credentials { return Credentials{Server: server, Username: "a", Password: "b:c"} }
	for name, c := range map[string]struct {
		config, image string
		want          Credentials
		err           string
	}{
		"none":              {"", "plain.example:5000/a:1", Credentials{}, ""},
		"plain":             {auths, "plain.example:5000/a/b:1", user("plain.example:5000"), ""},
		"other port":        {auths, "plain.example/a:1", Credentials{}, ""},
		"url":               {auths, "url.example/a:1", user("https://url.example/v1/"), ""},
		"hub":               {auths, "nginx:1", user("https://index.docker.io/v1/"), ""},
		"hub by name":       {auths, "docker.io/library/nginx", user("https://index.docker.io/v1/"), ""},
		"hub with a folder": {auths, "someone/nginx:1", user("https://index.docker.io/v1/"), ""},
		"identity token":    {auths, "id.example/a", Credentials{Server: "id.example", Username: "a", IdentityToken: "tok"}, ""},
		"several entries":   {`{"auths": {"https://two.example/v1/": {"auth": "eDp5"}, "http://two.example": {"auth": "eDp5"}, "two.example": {"auth": "YTpiOmM="}}}`, "two.example/a", user("two.example"), ""},
		"left empty":        {auths, "empty.example/a", Credentials{}, ""},
		"not base64":        {auths, "bad.example/a", Credentials{}, "the entry of bad.example is not base64"},
		"no JSON":           {`{"auths": {"a": "s3cret"}}`, "a.example/a", Credentials{}, "it is no JSON"},
		"helper":            {helpers, "has.example/a:1", Credentials{Server: "has.example", Username: "u", Password: "s3cret"}, ""},
		"helper's token":    {helpers, "token.example/a:1", Credentials{Server: "token.example", IdentityToken: "t0k"}, ""},
		"helper has none":   {helpers, "none.example/a:1", Credentials{}, ""},
		"entry beside":      {helpers, "other.example/a:1", user("other.example"), ""},
		"helper fails":      {helpers, "broken.example/a:1", Credentials{}, "ask docker-credential-test for the credentials of broken.example: exit status 2"},
		"helper is odd":     {helpers, "odd.example/a:1", Credentials{}, "its answer is not what a credential helper says"},
		"of one registry":   {`{"credHelpers": {"has.example": "test"}}`, "has.example/a", Credentials{Server: "has.example", Username: "u", Password: "s3cret"}, ""},
		"helper by a path":  {`{"credsStore": "../x"}`, "has.example/a", Credentials{}, "that is no helper's name"},
		"helper is missing": {`{"credsStore": "absent"}`, "has.example/a", Credentials{}, "docker-credential-absent"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.config != "" {
				if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(c.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Configured(t.Context(), dir, c.image)
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			switch {
			case (err == nil) != (c.err == ""), err != nil && !strings.Contains(err.Error(), c.err):
				t.Errorf("got %v, want %q", err, c.err)
			case err != nil && strings.Contains(err.Error(), "s3cret"):
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

// TestCredentialsIn: what a task fetched, in both forms. A helper that it names is not run.
func TestCredentialsIn(t *testing.T) {
	const entries = `{"https://index.docker.io/v1/": {"auth": "eDp5"}, "a.b": {"identitytoken": "t"}, "bad.example": {"auth": "s3cret!"}}`
	const around = `{"auths": ` + entries + `, "credsStore": "absent"}`
	for image, want := range map[string]string{
		"nginx": "{x y  https://index.docker.io/v1/} <nil>", "a.b/c": "{  t a.b} <nil>", "c.d/e": "{   } <nil>",
		"bad.example/a": "{   } the entry of bad.example is not base64",
	} {
		for config, bare := range map[string]bool{entries: true, around: false} {
			got, err := CredentialsIn(strings.NewReader(config), bare, image)
			if got := fmt.Sprint(got, err); got != want {
				t.Errorf("%s, bare %v: %s, want %s", image, bare, got, want)
			}
		}
	}
	for _, config := range []string{"", "{", `{"a.b": "s3cret"}`} {
		if _, err := CredentialsIn(strings.NewReader(config), true, "nginx"); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", config, err)
		}
	}
}

func TestRegistryOf(t *testing.T) {
	for image, want := range map[string]string{
		"nginx": hub, "me/app:1": hub, "docker.io/me/app": hub, "localhost/app": "localhost", "reg:5000/app": "reg:5000", "a.b/c/d@sha256:x": "a.b",
	} {
		if got := registryOf(image); got != want {
			t.Errorf("%s: %s", image, got)
		}
	}
}
