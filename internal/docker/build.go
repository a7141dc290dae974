package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// BuildSpec is one build of a Dockerfile.
type BuildSpec struct {
	// Context is a tar archive with the Dockerfile in it, under that name.
	Context io.Reader
	Network string // of the commands that the Dockerfile runs: "host", "none", a network's name; "": the engine's default
	// Args are the values of build arguments. The proxies' well-known ones need no ARG, and no layer keeps them.
	Args  map[string]string
	Fresh bool // no layer of earlier builds is used
}

// BuildEvents are told how a build goes on. They are called one after the other.
type BuildEvents struct {
	Step   func(number int)  // an instruction begins; from 1
	Reused func()            // its layer was there
	Output func(text string) // of the instruction; empty when its container starts
}

var (
	stepLine      = regexp.MustCompile(`^Step ([0-9]+)/[0-9]+ : `)
	commandFailed = regexp.MustCompile(`(?s)^The command '.*' returned a non-zero code: ([0-9]+)$`)
)

// Build builds an image and returns its id; it gets no name. A build that fails leaves no container, but the layers that were
// ready, for the next. It ends when ctx does.
func (c *Client) Build(ctx context.Context, s BuildSpec, on BuildEvents) (string, error) {
	args := map[string]*string{}
	for k, v := range s.Args {
		args[k] = &v
	}
	answer, err := c.api.ImageBuild(ctx, s.Context, build.ImageBuildOptions{
		Version: build.BuilderV1, Remove: true, ForceRemove: true, NoCache: s.Fresh, NetworkMode: s.Network, BuildArgs: args,
	})
	if err != nil {
		return "", fmt.Errorf("build an image: %w", err)
	}
	defer answer.Body.Close()
	id, err := readBuild(answer.Body, on)
	if err != nil {
		return "", fmt.Errorf("build an image: %w", err)
	}
	return id, nil
}

// readBuild follows the builder's words to their end.
func readBuild(body io.Reader, on BuildEvents) (string, error) {
	decoder := json.NewDecoder(body)
	id := ""
	for {
		var line struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
			Aux    struct {
				ID string `json:"ID"`
			} `json:"aux"`
		}
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF) && id == "":
			return "", io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return id, nil
		case err != nil:
			return "", fmt.Errorf("read the progress: %w", err)
		case line.Error != "":
			// The engine repeats the whole command, which may be long; whoever wrote it knows which step failed.
			return "", errors.New(commandFailed.ReplaceAllString(line.Error, "a command ended with exit code $1"))
		}
		if line.Aux.ID != "" {
			id = line.Aux.ID
		}
		tell(line.Stream, on)
	}
}

// tell sorts one piece of the builder's output. What containers print never begins with the builder's arrow in practice; if it
// did, a line of output would be missing on the screen and nothing else.
func tell(text string, on BuildEvents) {
	trimmed := strings.TrimSpace(text)
	if step := stepLine.FindStringSubmatch(text); step != nil {
		number, _ := strconv.Atoi(step[1])
		on.Step(number)
		return
	}
	switch {
	case trimmed == "---> Using cache":
		on.Reused()
	case strings.HasPrefix(trimmed, "---> Running in "):
		on.Output("")
	case trimmed == "", strings.HasPrefix(trimmed, "--->"), strings.HasPrefix(trimmed, "Removing intermediate container "), strings.HasPrefix(trimmed, "Successfully built "):
	default:
		on.Output(text)
	}
}

// Push sends an image to the registry of its name. It returns when all of it is there; tell hears how far each layer is.
func (c *Client) Push(ctx context.Context, ref string, as Credentials, tell func(text string)) error {
	auth, err := as.encode()
	if err != nil {
		return fmt.Errorf("push image %s: %w", ref, err)
	}
	body, err := c.api.ImagePush(ctx, ref, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return fmt.Errorf("push image %s: %w", ref, err)
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var line struct{ ID, Status, Progress, Error string }
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("push image %s: read the progress: %w", ref, err)
		case line.Error != "":
			return fmt.Errorf("push image %s: %s", ref, line.Error)
		}
		tell(strings.TrimSpace(line.ID + " " + line.Status + " " + line.Progress))
	}
}

// RemoteDigest asks the registry of an image's name, through the engine, for the digest of what has that name there. An image
// that the registry does not have is IsNotFound.
func (c *Client) RemoteDigest(ctx context.Context, ref string, as Credentials) (string, error) {
	auth, err := as.encode()
	if err != nil {
		return "", fmt.Errorf("ask the registry for %s: %w", ref, err)
	}
	found, err := c.api.DistributionInspect(ctx, ref, auth)
	if err != nil {
		return "", fmt.Errorf("ask the registry for %s: %w", ref, err)
	}
	return found.Descriptor.Digest.String(), nil
}

// encode is the form in which the engine wants credentials; it wants an empty one, too.
func (as Credentials) encode() (string, error) {
	return registry.EncodeAuthConfig(registry.AuthConfig{
		Username: as.Username, Password: as.Password, IdentityToken: as.IdentityToken, ServerAddress: as.Server,
	})
}
