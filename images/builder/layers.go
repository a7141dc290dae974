package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/berth-project/berth/images/recipe"
	"github.com/berth-project/berth/internal/docker"
)

// lookedAt bounds how many earlier images are looked at for one on the same base.
const lookedAt = 10

// lockFile is the lock for a thing of any name.
func (j *job) lockFile(kind, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(j.Dir, kind+"-"+hex.EncodeToString(sum[:12]))
}

// earlier are the groups of packages of the newest image of the same name on the same base, nil when there is none.
func (j *job) earlier(ctx context.Context) ([][]string, error) {
	if j.base == "" {
		base, err := j.Engine.InspectImage(ctx, j.recipe.Base)
		if err != nil {
			return nil, err
		}
		j.base = base.ID
	}
	ids, err := j.Engine.ImagesWith(ctx, map[string]string{LabelName: j.recipe.Name, LabelBase: j.base}) // newest first
	if err != nil {
		return nil, err
	}
	for _, id := range ids[:min(len(ids), lookedAt)] {
		found, err := j.Engine.InspectImage(ctx, id)
		if docker.IsNotFound(err) {
			continue // removed since the list was made
		}
		if err != nil {
			return nil, err
		}
		var groups [][]string
		if json.Unmarshal([]byte(found.Labels[LabelPackages]), &groups) == nil {
			return groups, nil
		}
	}
	return nil, nil
}

// buildAll builds the layers that other recipes may share, one after the other, and then the image. Two builds that need the same
// new layer at the same time would otherwise both make it, and share nothing.
func (j *job) buildAll(ctx context.Context) (string, error) {
	f := &follower{steps: j.plan.Steps, report: j.report}
	defer f.end()
	if !j.Fresh {
		for i, s := range j.plan.Steps {
			if !s.Shared {
				continue
			}
			if err := j.shared(ctx, i+1, f); err != nil {
				return "", err
			}
		}
	}
	groups, err := json.Marshal(j.plan.Groups)
	if err != nil {
		return "", err
	}
	return j.part(ctx, -1, f, labels([][2]string{
		{LabelName, j.recipe.Name}, {LabelRecipe, j.plan.Digest}, {LabelPackages, string(groups)}, {LabelBase, j.base}, {LabelVersion, j.Version},
	}))
}

// labels is one instruction for all of them: the engine would make a step of each that it is given beside the Dockerfile.
func labels(list [][2]string) string {
	text := "LABEL"
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`)
	for _, l := range list {
		text += " " + l[0] + `="` + quote.Replace(l[1]) + `"`
	}
	return text + "\n"
}

// shared builds the first n steps while nobody else builds the same. Who waits has a slot, but one who builds has one, too, so the
// wait ends.
func (j *job) shared(ctx context.Context, n int, f *follower) error {
	name := j.base + "\n" + j.plan.Dockerfile(n)
	for _, e := range j.plan.Context(n) {
		name += e.Name + "\n"
	}
	release, err := hold(ctx, j.lockFile("layers", name), func() { j.report.Say("waiting for another build that makes the same layer") })
	if err != nil {
		return err
	}
	defer release()
	_, err = j.part(ctx, n, f, "")
	return err
}

// errEnough ends the sending of files that the engine does not read any more.
var errEnough = errors.New("the engine wants no more")

// part builds the first n steps, all for -1, and one more.
func (j *job) part(ctx context.Context, n int, f *follower, last string) (string, error) {
	r, w := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := archive(w, j.dir, j.plan.Dockerfile(n)+last, j.plan.Context(n))
		sent <- err
		_ = w.CloseWithError(err)
	}()
	id, err := j.Engine.Build(ctx, docker.BuildSpec{Context: r, Network: j.Network, Args: j.Args, Fresh: j.Fresh}, f.events())
	_ = r.CloseWithError(errEnough) // ends the sender, if it still sends
	failed := <-sent
	switch {
	case ctx.Err() != nil && err != nil:
		return "", context.Cause(ctx)
	case failed != nil && !errors.Is(failed, errEnough): // the engine only says that something was cut off
		return "", failed
	case err != nil && f.number > 0:
		return "", &StepError{f.title(f.number), err}
	}
	return id, err
}

// follower turns the engine's words into a report. Steps that an earlier part of the same build has made are not told again.
type follower struct {
	steps  []recipe.Step
	report Report
	told   int // steps, from 1
	number int // the one that is on
	open   bool
}

func (f *follower) title(number int) string {
	if number > len(f.steps) {
		return "label the image"
	}
	return f.steps[number-1].Title
}

func (f *follower) events() docker.BuildEvents {
	f.number = 0
	began := 0 // the last step that was told of this part
	return docker.BuildEvents{
		Step: func(number int) {
			if number != f.number+1 {
				return // a command that prints such a line
			}
			f.number = number
			if number <= f.told {
				return
			}
			f.told, f.open, began = number, true, number
			f.report.Step(fmt.Sprintf("[%d/%d] %s", number, len(f.steps)+1, f.title(number)))
		},
		Reused: func() {
			if f.number == began {
				f.report.Reused()
			}
		},
		Output: func(text string) { f.report.Output(text) },
	}
}

func (f *follower) end() {
	if f.open {
		f.report.Ended()
	}
}
