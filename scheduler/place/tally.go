package place

import "github.com/berth-project/berth/spec"

// Tally counts the tasks of one app by the values of the fields that its constraints name, and by host. Whoever owns the
// tasks keeps it up with each that begins to count and each that ends to, so that no placement looks at tasks.
type Tally struct {
	counts  []count
	dropped uint64 // tasks taken out: what a constraint forbade may be allowed since
}

// count is how many tasks run on each value of a field; never 0.
type count struct {
	field string
	tasks map[string]int
}

const hostField = "hostname"

// canonical is one name for each field: @hostname is the host name, too.
func canonical(field string) string {
	if field == "@hostname" {
		return hostField
	}
	return field
}

// NewTally counts nothing yet, by what the app's constraints ask for.
func NewTally(app *spec.App) *Tally {
	t := &Tally{counts: []count{{hostField, map[string]int{}}}}
	for _, c := range app.Constraints {
		if f := canonical(c.Field); t.of(f) == nil {
			t.counts = append(t.counts, count{f, map[string]int{}})
		}
	}
	return t
}

// of are the counts by a field's values; nil: the field is not counted.
func (t *Tally) of(field string) map[string]int {
	for i := range t.counts {
		if t.counts[i].field == field {
			return t.counts[i].tasks
		}
	}
	return nil
}

// Serves says whether the tally counts all that the app's constraints ask for.
func (t *Tally) Serves(app *spec.App) bool {
	for _, c := range app.Constraints {
		if t.of(canonical(c.Field)) == nil {
			return false
		}
	}
	return true
}

// Add counts a task on a host with these Fields.
func (t *Tally) Add(fields map[string]string) { t.add(fields, 1) }

// Remove takes a task out again.
func (t *Tally) Remove(fields map[string]string) {
	t.add(fields, -1)
	t.dropped++
}

// Removed is how many tasks were ever taken out.
func (t *Tally) Removed() uint64 { return t.dropped }

func (t *Tally) add(fields map[string]string, n int) {
	for i := range t.counts {
		value, ok := fields[t.counts[i].field]
		if !ok {
			continue
		}
		tasks := t.counts[i].tasks
		if tasks[value] += n; tasks[value] == 0 {
			delete(tasks, value)
		}
	}
}
