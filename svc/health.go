package svc

import (
	"fmt"
	"io"

	"github.com/berth-project/berth/svc/manager"
)

// health says which units have failed. A service that crashes again and again counts while it waits for its next start, as it would be luck to
// ask when it has given up.
func (s *Supervisor) health(stdout, stderr io.Writer) int {
	names, err := s.Known()
	if err != nil {
		return complain(stderr, err)
	}
	bad := 0
	for _, name := range names {
		r, err := s.read(name)
		if err != nil {
			return complain(stderr, err)
		}
		switch {
		case r.Active == manager.Failed:
			fmt.Fprintf(stdout, "%s has failed (%s)\n", name, r.Result)
		case r.Active == manager.Activating && r.Sub == "auto-restart" && r.Restarts > 0:
			fmt.Fprintf(stdout, "%s has ended %d times (%s)\n", name, r.Restarts+1, r.Result)
		default:
			continue
		}
		bad++
	}
	if bad > 0 {
		return 1
	}
	return 0
}
