package registrator

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// token is the ACL token in a file, which may get another one at any time: whoever rotates tokens writes it and takes the old
// one back a little later.
type token struct {
	file string

	mu     sync.Mutex // guards all below
	text   string
	size   int64
	change time.Time
}

// newToken reads the token for the first time; without a file there is none.
func newToken(file string) (*token, error) {
	t := &token{file: file}
	if file == "" {
		return t, nil
	}
	if err := t.read(); err != nil {
		return nil, fmt.Errorf("read the Consul token: %w", err)
	}
	return t, nil
}

// now is the file's token. While the file cannot be read, or is empty, it is the last one: whoever writes it anew may not be
// done yet, and a token that is no longer good shows in Consul's answers.
func (t *token) now() string {
	if t.file == "" {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, err := os.Stat(t.file); err == nil && (!i.ModTime().Equal(t.change) || i.Size() != t.size) {
		_ = t.read()
	}
	return t.text
}

// maxToken bounds what is read; Consul's tokens are UUIDs.
const maxToken = 64 << 10

func (t *token) read() error {
	i, err := os.Stat(t.file)
	if err != nil {
		return err
	}
	if i.Size() > maxToken {
		return fmt.Errorf("%s has %d bytes, which is no token", t.file, i.Size())
	}
	b, err := os.ReadFile(t.file)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return fmt.Errorf("%s is empty", t.file)
	}
	t.text, t.size, t.change = text, i.Size(), i.ModTime()
	return nil
}
