// Package deploy decides what must happen to an app's seats now. In: the app as wanted, its live tasks, and whether the
// running deployment replaces outdated tasks. Out: seats to launch, tasks to kill with reasons, done, or what it waits for.
// It is a reconciler: it looks at what is, never at what it decided before, so it resumes anywhere after a crash.
//
// A rolling update keeps seats: new tasks start in temporary seats numbered after the last (as few as the health floor
// needs), then the wanted seats are replaced in place, then the temporary ones end. Apps whose instances float (see
// spec.App.Floats) start new tasks in any free seats and end old ones. Two bounds hold at every moment for both:
//   - the floor, ceil(N x minimumHealthCapacity): nothing healthy is killed when fewer than the floor would remain;
//   - the ceiling, floor(N x (1 + maximumOverCapacity)), or N+1 where that leaves no room to replace anything (Marathon's +1 rule).
//
// Tasks on a host that is being drained are replaced in the same way, whether a rollout is on or not. One is ended only as long as other
// hosts have room for the instance: a rollout may count on the room that it makes, a drain may not.
package deploy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Mode is what an app's part of the current step wants.
type Mode int

const (
	// Keep: as many instances as wanted, outdated ones stay. The state between deployments, and Marathon's ScaleApplication.
	Keep Mode = iota
	// Replace: outdated tasks are replaced too. Marathon's RestartApplication.
	Replace
	// Stop: all tasks end. Marathon's StopApplication.
	Stop
)

// Task is the part of a task that the decision depends on.
type Task struct {
	ID       string
	Seat     int
	Outdated bool // launched from another configuration than the app's newest
	// Leaving names the host that the task must leave, as it is being drained; "": it may stay.
	Leaving string
	Healthy bool // running, all checks alive, and ready
	Killing bool
	// Unreachable tasks are not counted as healthy, and end only where their seat is not wanted.
	Unreachable bool
	// GivenUp: unreachable for so long that a replacement may start in another seat; also if it came back since. A kept seat
	// stays occupied as long as its task exists: the old container may still answer on the seat's address.
	GivenUp bool

	// What says which of several interchangeable instances goes first.
	Rung   spec.Rung
	Since  time.Time // started, or created while it has not
	Groups []string  // one value a GROUP_BY constraint, unlike those of every other constraint
}

// Input is one app and its live tasks.
type Input struct {
	App   *spec.App
	Mode  Mode
	Tasks []Task
	// Room is for how many instances others have room of the tasks that leave a host, and of a helper for them, which begins only when a
	// seat finds room beside it; NoRoom is why there is for no more.
	Room   int
	NoRoom string
}

// Kill is one task to end, with the reason.
type Kill struct{ TaskID, Reason string }

// Result is what must happen now.
type Result struct {
	Launch []int // seats, ascending
	Kill   []Kill
	// Done: everything that the mode wants is so.
	Done bool
	// Waiting names the unmet condition when not Done.
	Waiting string
}

// Bounds are the two limits of a rolling update for n instances.
func Bounds(n int, u spec.UpgradeStrategy) (floor, ceiling int) {
	// The small tolerance keeps ceil(10*0.3) at 3 although 0.3 is a little more in binary.
	floor = int(math.Ceil(float64(n)*u.MinimumHealthCapacity - 1e-9))
	ceiling = int(math.Floor(float64(n)*(1+u.MaximumOverCapacity) + 1e-9))
	if floor >= ceiling {
		ceiling = floor + 1
	}
	return floor, ceiling
}

// Advance decides. Tasks may come in any order.
func Advance(in Input) Result {
	tasks, order := in.Tasks, func(a, b Task) int { return cmp.Or(cmp.Compare(a.Seat, b.Seat), cmp.Compare(a.ID, b.ID)) }
	if !slices.IsSortedFunc(tasks, order) {
		tasks = slices.Clone(tasks)
		slices.SortFunc(tasks, order)
	}
	d := decider{app: in.App, n: in.App.Instances, tasks: tasks, replace: in.Mode == Replace, room: in.Room, noRoom: in.NoRoom}
	if in.Mode == Stop {
		d.n = 0
	} else {
		d.wanted = in.App.Seats()
	}
	d.rolling = d.replace || slices.ContainsFunc(tasks, d.leaves)
	d.floor, d.ceiling = Bounds(d.n, in.App.Upgrade)
	if len(marathon.PersistentVolumes(in.App)) > 0 {
		// A helper would have volumes of its own, with nothing in them: a resident app never has one instance more than asked
		// for, so one of them must go first (Marathon's special case).
		d.ceiling = max(d.n, 1)
		d.floor = min(d.floor, d.ceiling-1)
	}
	for i := range tasks {
		t := &tasks[i]
		if t.Healthy && !t.Killing {
			d.healthy++
		}
		if !d.gone(*t) {
			d.live++
		}
	}
	if in.App.Floats() {
		d.float()
		return d.out
	}
	d.fill()
	d.helpers()
	d.renew()
	d.finish()
	return d.out
}

type decider struct {
	app            *spec.App
	n              int
	wanted         []int  // kept seats: which, ascending
	replace        bool   // outdated tasks are replaced
	rolling        bool   // some are replaced: those, or such as leave their host
	tasks          []Task // by seat
	at             int    // where in last looked
	floor, ceiling int
	healthy        int // tasks that answer and are not being killed; goes down with each kill decided here
	live           int // tasks that occupy capacity (see gone); goes up with each launch decided here
	blocked        int // wanted seats that the ceiling keeps from being launched
	free           int // floating: no seat below is free
	room           int // tasks that leave their host and may end now; goes down with each kill of one decided here
	noRoom         string
	held           int // tasks that leave their host and could end, or helpers that could begin, if another had room
	out            Result
}

// gone says that a task is neither wanted nor there to be ended. It may stay so for ever, so nothing waits for it.
func (d *decider) gone(t Task) bool {
	return t.Unreachable && d.n > 0 && !d.app.Floats() && !d.has(t.Seat)
}

// stale says that a task is to be replaced.
func (d *decider) stale(t Task) bool {
	return d.replace && t.Outdated || t.Leaving != "" && !t.Unreachable && d.n > 0
}

// leaves says that a task is wanted, and must leave its host.
func (d *decider) leaves(t Task) bool {
	return t.Leaving != "" && !t.Killing && !t.Unreachable && d.n > 0 && (d.app.Floats() || d.has(t.Seat))
}

// makeWay ends a task that is to be replaced, unless it leaves its host and no other has room for the instance.
func (d *decider) makeWay(t Task) {
	if t.Leaving != "" {
		if d.room <= 0 {
			d.held++
			return
		}
		d.room--
	}
	d.kill(t, "%s", d.replacedBecause(t))
}

func (d *decider) replacedBecause(t Task) string {
	if d.replace && t.Outdated {
		return "replaced by the new version"
	}
	return "host drain " + t.Leaving
}

// in are the tasks in a seat. Seats are asked for in ascending order mostly, so the search begins where the last one ended.
func (d *decider) in(seat int) []Task {
	if d.at >= len(d.tasks) || d.tasks[d.at].Seat > seat {
		d.at = 0
	}
	if next := d.at + 16; next < len(d.tasks) && d.tasks[next].Seat < seat {
		d.at += sort.Search(len(d.tasks)-d.at, func(i int) bool { return d.tasks[d.at+i].Seat >= seat })
	}
	for d.at < len(d.tasks) && d.tasks[d.at].Seat < seat {
		d.at++
	}
	end := d.at
	for end < len(d.tasks) && d.tasks[end].Seat == seat {
		end++
	}
	return d.tasks[d.at:end]
}

// has says whether a kept seat is wanted.
func (d *decider) has(seat int) bool { return d.n > 0 && d.app.HasSeat(seat) }

func (d *decider) launch(seat int) {
	d.out.Launch = append(d.out.Launch, seat)
	d.live++
}

func (d *decider) kill(t Task, format string, args ...any) {
	if t.Healthy && !t.Killing {
		d.healthy--
	}
	d.out.Kill = append(d.out.Kill, Kill{t.ID, fmt.Sprintf(format, args...)})
}

// fill launches every wanted seat that has no task, within the ceiling while a rolling update runs.
func (d *decider) fill() {
	for _, seat := range d.wanted {
		if len(d.in(seat)) > 0 {
			continue
		}
		if d.rolling && d.live >= d.ceiling {
			d.blocked++
			continue
		}
		d.launch(seat)
	}
}

// outdated are the tasks in wanted seats that must be replaced.
func (d *decider) outdated() []Task {
	var out []Task
	if !d.rolling {
		return nil
	}
	for _, t := range d.tasks {
		if d.has(t.Seat) && d.stale(t) && !t.Killing && !t.Unreachable {
			out = append(out, t)
		}
	}
	return out
}

// wave is how many seats are replaced side by side: one, and a tenth of large apps, so that no rollout takes more than
// about ten waves.
func (d *decider) wave() int { return max(1, (d.n+9)/10) }

// helpers launches as few temporary seats as the floor needs: none when the floor leaves room for a wave, otherwise
// enough for one wave, within the ceiling. Surplus tasks of an app that shrinks serve as helpers, so none is added then;
// and outdated tasks that are not healthy carry nothing that a helper would have to carry for them.
func (d *decider) helpers() {
	old := 0
	for _, t := range d.outdated() {
		if t.Healthy {
			old++
		}
	}
	if old == 0 {
		return
	}
	want := min(min(d.wave(), old)-(d.n-d.floor), d.ceiling-d.n)
	have := 0
	for _, t := range d.tasks {
		if !d.has(t.Seat) && !t.Killing && !t.Unreachable {
			have++
		}
	}
	if !d.replace && want > have {
		// Apps that leave a host together must not take the last room with their helpers, so that no seat finds any.
		less := min(want, have+max(0, d.room-1))
		d.held += want - max(have, less)
		d.room -= max(0, less-have)
		want = less
	}
	for seat := d.app.SeatsEnd(); have < want && d.live < d.ceiling; seat++ {
		if len(d.in(seat)) > 0 {
			continue
		}
		d.launch(seat)
		have++
	}
}

// renew kills outdated tasks in place, unhealthy ones first (they do not count for the floor), as long as the floor holds.
func (d *decider) renew() {
	old := d.outdated()
	slices.SortStableFunc(old, func(a, b Task) int {
		if a.Healthy != b.Healthy {
			if a.Healthy {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.Seat, b.Seat)
	})
	for _, t := range old {
		if t.Healthy && d.healthy-1 < d.floor {
			continue
		}
		d.makeWay(t)
	}
}

// finish ends what is too much once nothing needs it, and says whether the mode is fulfilled. As long as a wanted seat is
// not well, healthy tasks beyond the wanted ones carry the floor: also when the app only shrinks, or a rollout was
// cancelled in the middle.
func (d *decider) finish() {
	var surplus []Task
	missing, unhealthy, outdated, leaving, dying, lost := 0, 0, 0, 0, 0, 0
	for _, seat := range d.wanted {
		ok := false
		for _, t := range d.in(seat) {
			switch {
			case t.Killing:
				dying++
			case t.Unreachable:
				lost++
			case d.replace && t.Outdated:
				outdated++
				ok = true
			case d.stale(t):
				leaving++
				ok = true
			case t.Healthy:
				ok = true
			default:
				unhealthy++
				ok = true
			}
		}
		if !ok {
			missing++
		}
	}
	for _, t := range d.tasks {
		if !d.has(t.Seat) && !t.Killing {
			surplus = append(surplus, t)
		}
	}
	// Too many at once: the ceiling holds for the surplus of a shrinking app too, and wanted seats go before it.
	over := d.live + d.blocked - max(d.ceiling, d.n)
	for _, t := range d.tasks {
		if t.Killing && !d.gone(t) {
			over-- // on its way out already
		}
	}
	// While seats are still being replaced, the surplus carries the floor; the highest seats go first.
	slices.Reverse(surplus)
	for _, t := range surplus {
		if d.gone(t) {
			if t.Outdated { // its seat may be wanted again before it is back, by one that only scales
				d.kill(t, "%s", d.surplusReason(t))
			}
			continue // it may come back; then it is killed as surplus
		}
		settled := missing+unhealthy+outdated+leaving+dying == 0
		useless := !t.Healthy && (d.stale(t) || t.Outdated || !d.rolling) // nobody would miss it
		spare := (over > 0 || !d.rolling) && (!t.Healthy || d.healthy-1 >= d.floor)
		if settled || useless || spare {
			d.kill(t, "%s", d.surplusReason(t))
			over--
		}
	}
	left := 0
	for _, t := range d.tasks {
		if !d.has(t.Seat) && !d.gone(t) {
			left++
		}
	}
	switch {
	case missing > 0 && missing == lost:
		d.out.Waiting = fmt.Sprintf("%d of %d instances cannot be reached", lost, d.n)
	case missing > 0 && dying > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d seats have no running task, %d are being stopped", missing, d.n, dying)
	case missing > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not started", missing, d.n)
	case outdated > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances still run the old version; %d healthy, %d must stay healthy", outdated, d.n, d.healthy, d.floor)
	case leaving > 0:
		d.out.Waiting = d.leavingText(leaving)
	case unhealthy > 0:
		d.out.Waiting = fmt.Sprintf("%d of %d instances are not healthy yet", unhealthy, d.n)
	case left > 0:
		d.out.Waiting = fmt.Sprintf("%d tasks are being stopped", left)
	case dying > 0:
		d.out.Waiting = fmt.Sprintf("%d instances are being replaced", dying)
	default:
		d.out.Done = true
	}
}

// leavingText says what instances wait for that must leave their hosts.
func (d *decider) leavingText(n int) string {
	var hosts []string
	for _, t := range d.tasks {
		if d.leaves(t) && !slices.Contains(hosts, t.Leaving) {
			hosts = append(hosts, t.Leaving)
		}
	}
	slices.Sort(hosts)
	text := fmt.Sprintf("%d of %d instances must leave %s, drained; %d healthy, %d must stay healthy", n, d.n, strings.Join(hosts, " and "), d.healthy, d.floor)
	if d.held > 0 && d.noRoom != "" {
		text += "; no other host has room now: " + d.noRoom
	}
	return text
}

func (d *decider) surplusReason(t Task) string {
	switch {
	case d.n == 0:
		return "no instance is wanted"
	case d.replace:
		return "temporary seat of a rolling update"
	case d.rolling:
		return "temporary seat of a host drain"
	}
	return fmt.Sprintf("seat %d is not one of the %d wanted", t.Seat, d.n)
}

// Spare is how many temporary instances beside the wanted ones a rolling update of the app needs: none where the floor
// leaves room to replace some in place.
func Spare(app *spec.App) int {
	d := decider{n: app.Instances}
	floor, ceiling := Bounds(app.Instances, app.Upgrade)
	return max(0, min(min(d.wave(), app.Instances)-(app.Instances-floor), ceiling-app.Instances))
}
