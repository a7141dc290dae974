package sampler

import (
	"cmp"
	"slices"
	"strings"

	"github.com/berth-project/berth/monitor/figures"
)

// Environment variables that Marathon gives to every task.
const (
	envApp     = "MARATHON_APP_ID"
	envVersion = "MARATHON_APP_VERSION"
	envTask    = "MESOS_TASK_ID"
)

// Bounds of what a container says of itself.
const (
	maxApp  = 255
	maxWord = 255
)

// others adds the containers that are nobody's seat. Each keeps its number as long as it runs; a new one gets the lowest that is
// free, so that the next container of an app with one instance goes on with the history of the last.
func (j *join) others(all []*tracked) {
	slices.SortFunc(all, func(a, b *tracked) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	made := make([]figures.Instance, len(all))
	for n, t := range all {
		made[n] = other(t)
		if f := made[n].Figures; f != nil {
			j.advise(f, t.ID, f.CPU.Base)
		}
		if t.key.App != made[n].App { // new, or renamed
			t.key = figures.Key{}
		}
	}
	for pass := range 2 { // those that have a number come first
		for n, t := range all {
			if known := t.key != (figures.Key{}); known != (pass == 0) {
				continue
			}
			key := cmp.Or(t.key, figures.Key{App: made[n].App})
			for j.taken(key) {
				key.Seat++
			}
			made[n].Seat, t.key = key.Seat, key
			j.all[key] = made[n]
		}
	}
}

func (j *join) taken(key figures.Key) bool {
	_, ok := j.all[key]
	return ok
}

// other is a container that is nobody's seat, still without a number.
func other(t *tracked) figures.Instance {
	i := figures.Instance{
		App: "/" + t.Name, Instance: t.Name, Hostname: t.Hostname, Health: figures.Unknown,
	}
	for _, pair := range t.Env {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case envApp:
			if isApp(value) {
				i.App = value
			}
		case envVersion:
			i.Version = harmless(value)
		case envTask:
			i.Task = harmless(value)
		}
	}
	if i.Task != "" {
		i.Instance = instanceOf(i.Task)
	}
	address(&i, t)
	fill(&i, t)
	return i
}

// isApp says whether a text can be a Marathon app's id. Anybody may set the variable, so nothing else is believed.
func isApp(text string) bool {
	if len(text) < 2 || len(text) > maxApp || text[0] != '/' || strings.HasSuffix(text, "/") {
		return false
	}
	for _, r := range text {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' || r == '/') {
			return false
		}
	}
	return true
}

// harmless is a word, or nothing.
func harmless(text string) string {
	if len(text) > maxWord || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return text
}

// instanceOf is the instance of a Marathon task: "app.instance-UUID._app.1" is of "app.instance-UUID". Task ids of before 1.5 have
// no instance.
func instanceOf(task string) string {
	at := strings.Index(task, ".instance-")
	if at < 0 {
		return task
	}
	if end := strings.IndexByte(task[at+1:], '.'); end >= 0 {
		return task[:at+1+end]
	}
	return task
}
