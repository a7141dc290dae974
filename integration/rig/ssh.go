package rig

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
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
	return DialFrom(context.Background(), new(net.Dialer).DialContext, address, auth...)
}

// DialFrom is Dial from where dial connects.
func DialFrom(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), address string, auth ...ssh.AuthMethod) (*Login, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address = net.JoinHostPort(address, "22")
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// The other side may be there and say nothing, so the talk before the login has an end, too.
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := new(Login)
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "root", Auth: auth,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			l.HostKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
			return nil
		},
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l.Client = ssh.NewClient(c, channels, requests)
	return l, conn.SetDeadline(time.Time{})
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
