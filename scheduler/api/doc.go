// Package api serves the Marathon HTTP API, its event stream, and Berth's own calls below /berth/v1.
//
// In come HTTP requests; out go calls to a Backend (the scheduler's owner loop) and bodies in Marathon's words, which
// scheduler/marathon writes. The package decides nothing about apps: every change runs as a Change.Decide inside the owner
// loop. It holds no state except the event Log and what it measures of its own requests.
//
// Marathon's behaviour is kept where clients see it, with these intended differences: an unknown path is a 404 (Marathon
// 1.7+ answers 500, which makes go-marathon mark the host as down), clashes while normalising are 422, task statistics are
// named "taskStats", and events carry an "id:" line so that a reader can resume with Last-Event-ID; of what it misses it is
// told (EventStreamGap).
package api
