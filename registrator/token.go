package registrator

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// token is the ACL token in a file, which may get another one at any time: whoever rotates tokens writes it and takes the old
// one back a little later. Its time and size need not tell, as tokens are all of one length, so it is read for every call.
type token struct {
	file string

	mu   sync.Mutex // guards text
	text string
}

// newToken reads the token for the first time; without a file there is none.
func newToken(file string) (*token, error) {
	t := &token{file: file}
	if file == "" {
		return t, nil
	}
	text, err := readToken(file)
	if err != nil {
		return nil, fmt.Errorf("read the Consul token: %w", err)
	}
	t.text = text
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
	if text, err := readToken(t.file); err == nil {
		t.text = text
	}
	return t.text
}

// maxToken bounds what is read; Consul's tokens are UUIDs.
const maxToken = 64 << 10

func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxToken {
		return "", fmt.Errorf("%s has more than %d bytes, which is no token", file, maxToken)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return text, nil
}
