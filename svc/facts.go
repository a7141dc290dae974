package svc

import "github.com/berth-project/berth/unit"

// conditions gives the condition that keeps a unit from starting, or true.
func (s *Supervisor) conditions(*unit.Unit) (unit.Condition, bool) { return unit.Condition{}, true }
