package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxConfig bounds a Docker configuration, and what a credential helper answers.
const maxConfig = 1 << 20

// hub is Docker's own registry, which images without one belong to; hubKey is what Docker's clients have called it ever since.
const (
	hub    = "index.docker.io"
	hubKey = "https://index.docker.io/v1/"
)

// clientConfig is what of Docker's config.json tells credentials.
type clientConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"` // base64 of "user:password"
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// Configured finds the credentials for an image's registry as Docker's own clients do: in the folder dir ("": DOCKER_CONFIG, or
// .docker in the home folder), in config.json or through the credential helper that it names. Zero means that there are none.
// Errors never hold a secret.
func Configured(ctx context.Context, dir, image string) (Credentials, error) {
	if dir == "" {
		dir = os.Getenv("DOCKER_CONFIG")
	}
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Credentials{}, nil // nobody's configuration
		}
		dir = filepath.Join(home, ".docker")
	}
	file := filepath.Join(dir, "config.json")
	config, err := readClientConfig(file)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the docker configuration %s: %w", file, err)
	}
	registry := registryOf(image)
	if helper := config.helper(registry); helper != "" {
		key := registry
		if registry == hub {
			key = hubKey
		}
		c, err := askHelper(ctx, helper, key)
		if err != nil || c != (Credentials{}) {
			return c, err
		}
	}
	c, err := config.find(registry)
	if err != nil {
		return Credentials{}, fmt.Errorf("read the docker configuration %s: %w", file, err)
	}
	return c, nil
}

func readClientConfig(file string) (clientConfig, error) {
	var config clientConfig
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return config, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	if err = errors.Join(err, f.Close()); err != nil || len(bytes.TrimSpace(text)) == 0 {
		return config, err
	}
	return config, decodeConfig(text, &config)
}

// decodeConfig reads JSON; the decoder's own words might quote a secret.
func decodeConfig(text []byte, into any) error {
	if json.Unmarshal(text, into) != nil {
		return errors.New("it is no JSON, or has fields of other types than Docker writes")
	}
	return nil
}

// CredentialsIn finds the credentials for an image's registry in a configuration that came from elsewhere; bare says that it has the
// form of .dockercfg, the entries without anything around them. No helper that it names is asked.
func CredentialsIn(config io.Reader, bare bool, image string) (Credentials, error) {
	text, err := io.ReadAll(io.LimitReader(config, maxConfig))
	if err != nil {
		return Credentials{}, err
	}
	var c clientConfig
	into := any(&c)
	if bare {
		into = &c.Auths
	}
	if err := decodeConfig(text, into); err != nil {
		return Credentials{}, err
	}
	return c.find(registryOf(image))
}

// helper is the name of the credential helper for a registry, "" without one.
func (c clientConfig) helper(registry string) string {
	if keys := keysFor(registry, c.CredHelpers); len(keys) > 0 {
		return c.CredHelpers[keys[0]]
	}
	return c.CredsStore
}

// find looks for the registry's entry; keys are host names or, from older clients, URLs.
func (c clientConfig) find(registry string) (Credentials, error) {
	for _, key := range keysFor(registry, c.Auths) {
		a := c.Auths[key]
		out := Credentials{Server: key, Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			if err != nil {
				return Credentials{}, fmt.Errorf("the entry of %s is not base64", registry)
			}
			out.Username, out.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		}
		if out.Username == "" && out.IdentityToken == "" {
			continue // what clients leave behind when a helper has the secret
		}
		return out, nil
	}
	return Credentials{}, nil
}

// keysFor are those of a registry: its name, then others in the same order every time.
func keysFor[V any](registry string, entries map[string]V) (keys []string) {
	for key := range entries {
		if hostOf(key) == registry {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if at := slices.Index(keys, registry); at > 0 {
		copy(keys[1:at+1], keys[:at])
		keys[0] = registry
	}
	return keys
}

// hostOf is the registry's host of a key.
func hostOf(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, _, _ := strings.Cut(key, "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		return hub
	}
	return host
}

// registryOf is the host of the registry that an image belongs to.
func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return hub
	}
	return hostOf(host)
}

// helperName keeps a configuration from naming a program by a path.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// askHelper speaks the protocol of docker-credential-helpers: the registry in, its credentials out. What a helper says when it
// fails goes into no error, but for the one answer that means "none".
func askHelper(ctx context.Context, name, registry string) (Credentials, error) {
	if !helperName.MatchString(name) {
		return Credentials{}, fmt.Errorf("ask the credential helper %q: that is no helper's name", name)
	}
	program := "docker-credential-" + name
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.WaitDelay = 5 * time.Second // for what it may have started, which holds its output open
	cmd.Stdin = strings.NewReader(registry)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if err != nil && strings.Contains(strings.ToLower(out.String()), "credentials not found") {
		return Credentials{}, nil
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("ask %s for the credentials of %s: %w", program, registry, err)
	}
	var answer struct{ ServerURL, Username, Secret string }
	if out.Len() > maxConfig || json.Unmarshal(out.Bytes(), &answer) != nil {
		return Credentials{}, fmt.Errorf("ask %s for the credentials of %s: its answer is not what a credential helper says", program, registry)
	}
	c := Credentials{Server: registry, Username: answer.Username, Password: answer.Secret}
	if answer.Username == "<token>" { // the protocol's word for an identity token
		c = Credentials{Server: registry, IdentityToken: answer.Secret}
	}
	return c, nil
}
