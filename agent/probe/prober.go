package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/spec"
)

// Prober performs one probe. A nil error is a success; the error's text is the cause, for people. The answer is there when
// the probe keeps it and there was one. The context carries the probe's timeout.
type Prober interface {
	Probe(ctx context.Context, t Target, p spec.Probe) (spec.ProbeResponse, error)
}

// Exec runs a command inside a container and returns its exit code and (bounded) output. It leaves nothing running when the
// context ends.
type Exec interface {
	Exec(ctx context.Context, id string, cmd []string) (exitCode int, output []byte, err error)
}

// maxBody bounds what is read of an answer: enough to let small servers finish writing, no more.
const maxBody = 64 << 10

// network is the real Prober.
type network struct {
	exec   Exec
	client *http.Client
	dialer net.Dialer
}

// NewProber probes over the network, and through exec for COMMAND probes.
func NewProber(exec Exec) Prober {
	n := &network{exec: exec}
	n.client = &http.Client{
		// A redirect is an answer (3xx is a success); where it leads is not this container.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:             nil, // the container is on this host, whatever the environment says
			DialContext:       n.dialer.DialContext,
			DisableKeepAlives: true, // a probe shows that new connections work, and leaves none behind
			// Certificates of instances are for their clients' names, not for addresses.
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
			MaxResponseHeaderBytes: maxBody,
		},
	}
	return n
}

// Probe performs p against the target's own address.
func (n *network) Probe(ctx context.Context, t Target, p spec.Probe) (spec.ProbeResponse, error) {
	var answer spec.ProbeResponse
	if isCommand(p) {
		container := t.Container
		if p.Container != "" {
			if container = t.Members[p.Container]; container == "" {
				return answer, fmt.Errorf("container %s does not run", p.Container)
			}
		}
		code, err := n.command(ctx, container, p)
		if p.Reported && code >= 0 {
			answer.Exited, answer.ExitCode = true, code
		}
		return answer, err
	}
	switch strings.TrimPrefix(p.Protocol, "MESOS_") {
	case "HTTP":
		return n.http(ctx, "http", t.Address, p)
	case "HTTPS":
		return n.http(ctx, "https", t.Address, p)
	case "TCP":
		c, err := n.dialer.DialContext(ctx, "tcp", hostPort(t.Address, p.Port))
		if err != nil {
			return answer, plain(err)
		}
		return answer, c.Close()
	}
	return answer, fmt.Errorf("unknown protocol %q", p.Protocol)
}

func isCommand(p spec.Probe) bool { return strings.TrimPrefix(p.Protocol, "MESOS_") == "COMMAND" }

func (n *network) http(ctx context.Context, scheme string, a netip.Addr, p spec.Probe) (answer spec.ProbeResponse, err error) {
	path := p.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+hostPort(a, p.Port)+path, nil)
	if err != nil {
		return answer, fmt.Errorf("path %q cannot be requested", p.Path)
	}
	req.Header.Set("User-Agent", "berth-health-check")
	req.Header.Set("Accept", "*/*")
	resp, err := n.client.Do(req)
	if err != nil {
		return answer, plain(err)
	}
	defer resp.Body.Close()
	var kept bytes.Buffer
	if p.Reported {
		answer.Status = resp.StatusCode
	}
	if p.KeepResponse {
		_, err = io.Copy(&kept, io.LimitReader(resp.Body, spec.MaxProbeBody))
		answer = spec.ProbeResponse{Status: resp.StatusCode, ContentType: clip(resp.Header.Get("Content-Type")), Body: strings.ToValidUTF8(kept.String(), "?")}
	}
	if !accepted(resp.StatusCode, p.Statuses) {
		return answer, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	}
	if err != nil {
		return answer, fmt.Errorf("HTTP %d, but its body broke off: %w", resp.StatusCode, plain(err))
	}
	return answer, nil
}

// command counts exit code 0 as success. A command that outlives its timeout is killed by Exec: otherwise those of a check
// that hangs would pile up in the container. The code is -1 when there is none.
func (n *network) command(ctx context.Context, container string, p spec.Probe) (int, error) {
	words := p.Argv
	if len(words) == 0 {
		words = []string{"/bin/sh", "-c", p.Command}
	}
	code, output, err := n.exec.Exec(ctx, container, words)
	if err != nil {
		return -1, plain(err)
	}
	if code == 0 {
		return 0, nil
	}
	text := fmt.Sprintf("command ended with exit code %d", code)
	if first, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n"); first != "" {
		text += ": " + clip(first)
	}
	return code, errors.New(text)
}

// hostPort is the target; without an address (host network) it is the host itself.
func hostPort(a netip.Addr, port int) string {
	if !a.IsValid() {
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return net.JoinHostPort(a.String(), strconv.Itoa(port))
}

// plain turns a network error into words. Timeouts pass unchanged: the caller knows how long it waited.
func plain(err error) error {
	var alien tls.RecordHeaderError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, unix.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return errors.New("connection reset")
	case errors.Is(err, unix.EHOSTUNREACH):
		return errors.New("no route to host")
	case errors.Is(err, unix.ENETUNREACH):
		return errors.New("network is unreachable")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed without an answer")
	case errors.As(err, &alien), strings.Contains(err.Error(), "HTTP response to HTTPS client"): // net/http's, without a type
		return errors.New("no TLS on this port")
	}
	text := err.Error()
	// net/http and net put the whole request in front; the reason is the last part.
	if i := strings.LastIndex(text, "\": "); i >= 0 {
		text = text[i+3:]
	}
	return errors.New(clip(text))
}

// clip keeps a cause short enough for a table.
func clip(text string) string {
	const most = 200
	text = strings.ToValidUTF8(text, "?")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// accepted says whether a status code is a success: one of the comma separated list, or 200 to 399 without a list.
func accepted(code int, list string) bool {
	if list == "" {
		return code >= 200 && code < 400
	}
	return slices.Contains(strings.Split(list, ","), strconv.Itoa(code))
}
