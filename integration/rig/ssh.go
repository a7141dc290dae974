package rig

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

func newKey(t TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatalf("make an SSH key: %v", err)
	}
	return must(ssh.NewSignerFromKey(private))(t, "make an SSH key")
}

// Login is one SSH connection, and the host key that the other side showed.
type Login struct {
	*ssh.Client
	HostKey string
}

// Dial logs in as root at an instance's own address. The caller compares the host key.
func Dial(address string, auth ...ssh.AuthMethod) (*Login, error) {
	l := new(Login)
	client, err := ssh.Dial("tcp", net.JoinHostPort(address, "22"), &ssh.ClientConfig{
		User: "root", Auth: auth, Timeout: 5 * time.Second,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			l.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			return nil
		},
	})
	l.Client = client
	return l, err
}

// SSH logs in with the operators' key, waiting until the instance's sshd is there.
func (b *Berth) SSH(address string) *Login {
	b.t.Helper()
	var login *Login
	Eventually(b.t, 30*time.Second, "SSH to "+address, func() (err error) {
		login, err = Dial(address, ssh.PublicKeys(b.Key))
		return err
	})
	b.t.Cleanup(func() { login.Close() })
	return login
}

// Run runs a command and returns its output.
func (l *Login) Run(command string) (string, error) {
	session, err := l.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
