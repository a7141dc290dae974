package builder

import (
	"context"
	"fmt"
	"strings"

	"github.com/berth-project/berth/internal/docker"
)

// existing finds the version where it would be: in the engine, and in the registry if it is to be pushed. It returns the id of the
// image, "" when it has to be built, and whether the registry has it. A version of another recipe is a TakenError.
func (j *job) existing(ctx context.Context) (id string, remote bool, err error) {
	for _, ref := range []string{j.ref, j.remote} {
		if ref == "" {
			continue
		}
		found, err := j.Engine.InspectImage(ctx, ref)
		if docker.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", false, err
		}
		if err := j.same(found, ref, "on this machine"); err != nil {
			return "", false, err
		}
		if found.Labels[LabelBase] != j.base {
			j.report.Say(ref + " is on an older image of its base; a new version would be on the present one")
		}
		if id == "" {
			id = found.ID
		}
	}
	if j.remote != "" {
		if id, remote, err = j.inRegistry(ctx, id); err != nil {
			return "", false, err
		}
	}
	if id != "" {
		err = j.Engine.Tag(ctx, id, j.ref)
	}
	return id, remote, err
}

// name gives the image that was built its version, unless that was given away meanwhile: by docker pull or docker tag, by berth drift.
// It returns the id of the image that has it.
func (j *job) name(ctx context.Context, id string) (string, error) {
	found, err := j.Engine.InspectImage(ctx, j.ref)
	switch {
	case docker.IsNotFound(err):
		return id, j.Engine.Tag(ctx, id, j.ref)
	case err != nil:
		return "", err
	}
	return found.ID, j.same(found, j.ref, "on this machine")
}

// same says why the image found is not the one that the recipe makes, or nil.
func (j *job) same(found docker.Image, ref, where string) error {
	switch found.Labels[LabelRecipe] {
	case j.plan.Digest:
		return nil
	case "":
		return &TakenError{ref, where, "and was not made by berth build"}
	}
	return &TakenError{ref, where, "with other contents"}
}

// inRegistry compares with what the registry has under the name. It is fetched to do so, unless it came from here or there before:
// then it is the image to use, too, as the same image shall go everywhere.
func (j *job) inRegistry(ctx context.Context, id string) (string, bool, error) {
	digest, err := j.Engine.RemoteDigest(ctx, j.remote, j.as)
	if docker.IsNotFound(err) {
		return id, false, nil
	}
	if err != nil {
		return "", false, j.withoutLogin(err)
	}
	name := j.remoteBy(digest)
	found, err := j.Engine.InspectImage(ctx, name)
	if docker.IsNotFound(err) {
		j.report.Say("the registry has " + j.remote + ": fetching it to compare")
		if err := j.Engine.Pull(ctx, name, j.as); err != nil {
			return "", false, err
		}
		found, err = j.Engine.InspectImage(ctx, name)
	}
	if err != nil {
		return "", false, err
	}
	if err := j.same(found, j.remote, "in the registry"); err != nil {
		return "", false, err
	}
	return found.ID, true, nil
}

// remoteBy is the name of what the registry has under a digest.
func (j *job) remoteBy(digest string) string {
	return strings.TrimSuffix(j.remote, ":"+j.Version) + "@" + digest
}

// withoutLogin says what may be the matter when a registry refuses and there were no credentials for it.
func (j *job) withoutLogin(err error) error {
	if j.as != (docker.Credentials{}) {
		return err
	}
	host, _, _ := strings.Cut(j.remote, "/")
	return fmt.Errorf("%w (Docker's configuration has no credentials for it; docker login %s writes them there)", err, host)
}

// push sends the image. The registry is asked once more, as builds on other machines do not stand in this queue.
func (j *job) push(ctx context.Context, id string) error {
	if _, there, err := j.inRegistry(ctx, id); err != nil || there {
		return err
	}
	if err := j.Engine.Tag(ctx, id, j.remote); err != nil {
		return err
	}
	j.report.Step("push " + j.remote)
	err := j.Engine.Push(ctx, j.remote, j.as, func(text string) { j.report.Output(text + "\n") })
	j.report.Ended()
	if err != nil {
		return fmt.Errorf("%w; %s stays on this machine, so the next berth build only pushes it", err, j.ref)
	}
	err = j.arrived(ctx, id)
	j.result.Sent = err == nil
	return err
}

// arrived asks the registry whose image has the name now: another machine may have pushed in the same moment.
func (j *job) arrived(ctx context.Context, id string) error {
	digest, err := j.Engine.RemoteDigest(ctx, j.remote, j.as)
	if err != nil {
		return err
	}
	found, err := j.Engine.InspectImage(ctx, j.remoteBy(digest))
	if docker.IsNotFound(err) || err == nil && found.ID != id {
		return &TakenError{j.remote, "in the registry", "of another machine, which pushed in the same moment"}
	}
	return err
}
