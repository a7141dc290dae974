// Package spec is the vocabulary.
package spec

import (
	"time"

	_ "github.com/berth-project/berth/internal/x" // want `spec is the vocabulary`
	_ "github.com/sirupsen/logrus"                // want `nothing but the standard library`
)

// Zero is allowed: spec is no deciding package.
func Zero() time.Time { return time.Now() }

type Naked struct{} // the comment at the end of the line counts

type Bare struct { // want `Bare is exported and has no comment`
}

// Kind is documented, so its constants need no comment.
type Kind string

const (
	A Kind = "a"
	B Kind = "b"
)

const (
	// D has one.
	D = "d"
)

// want+2 `C is exported`

const C = 1

func (Bare) String() string { return "" }

func (Bare) Other() {} // want `Other is exported`

func (k *Kind) Change() {} // want `Change is exported`

type hidden struct{}

func (hidden) Fine() {}
