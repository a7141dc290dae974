package api

import (
	"errors"
	"net/http"
	"regexp"
	"sync"
	"time"
)

var (
	errGone = errors.New("gone")
	expr    = regexp.MustCompile("x")
	names   = map[string]int{"a": 1}
	list    = []string{"a"}
	count   = 0
	mu      sync.Mutex           // want `mu has no first value`
	once    = sync.Once{}        // want `once is a sync.Once`
	cache   = make([]int, 3)     // want `cache is made empty`
	client  = &http.Client{}     // want `client points to something`
	now     = time.Now           // want `now is a hook`
	hook    = func() {}          // want `hook holds a function`
	mux     = http.NewServeMux() // want `mux holds the result of net/http.NewServeMux`
	table   = build()
	raw     = []byte("x")
	_       = list
)

//go:embed x
var page string

func build() map[string]int { return nil }

func write() {
	count++                  // want `count is written here`
	list[0] = "b"            // want `list is written here`
	delete(table, "a")       // want `table is written here`
	p := &expr               // want `expr is written here`
	http.DefaultClient = nil // want `http.DefaultClient of another package`
	_, _, _ = p, errGone, names
	names := map[string]int{}
	names["local"] = 1
	for count = range 3 { // want `count is written here`
	}
}
