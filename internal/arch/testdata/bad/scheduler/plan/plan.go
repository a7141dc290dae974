// Package plan decides.
package plan

import (
	_ "log/slog" // want `without logging`
	"math/rand/v2"
	_ "os" // want `without I/O`
	"sync" // want `shared state between goroutines`
	"time"

	_ "github.com/berth-project/berth/internal/x"    // want `imports only spec and deciding packages`
	_ "github.com/berth-project/berth/scheduler/api" // want `imports only spec and deciding packages`
	_ "github.com/berth-project/berth/scheduler/place"
	_ "github.com/berth-project/berth/spec"
	_ "github.com/google/uuid" // want `no third-party code`
)

func decide(now time.Time, r *rand.Rand) {
	_ = time.Since(now) // want `no time.Since`
	_ = time.Now()      // want `no time.Now`
	_ = rand.IntN(3)    // want `no rand.IntN`
	_ = rand.New(rand.NewPCG(1, 2))
	go decide(now, r)  // want `no go statement`
	_ = make(chan int) // want `no channels`
	var mu sync.Mutex
	mu.Lock()
	_ = now.Add(time.Second)
	time := clock{}
	_ = time
}

type clock struct{}
