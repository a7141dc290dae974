package x // want `no package comment`

import (
	_ "github.com/berth-project/berth/scheduler/plan" // want `must not know them`
	_ "github.com/docker/docker/client"               // want `Docker's types only in internal/docker`
)
