package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-project/berth/agent"
)

// netSocket is where a berth net tells its status.
func netSocket(runDir string) string { return filepath.Join(runDir, "net.sock") }

const netStatusLong = `status shows what the berth net of this host knows and does: the host document and how old it is, pools, the containers'
connections, BGP sessions, and what does not work. It asks the process itself, through a socket in --run-dir; neither the scheduler nor Docker must
answer. The exit code is 1 when something does not work.`

const netStatusExample = `  berth net status
  berth net status -o json | jq '.BGP.Sessions[] | select(.State != "established")'`

func newNetStatusCommand(c *cli) *cobra.Command {
	var runDir string
	cmd := &cobra.Command{
		Use: "status", Short: "Show what the berth net of this host knows and does", Long: netStatusLong, Example: netStatusExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askNet(cmd.Context(), netSocket(runDir))
			if err == nil {
				err = c.printNet(s)
			}
			if err == nil && len(s.Errors) > 0 {
				err = fmt.Errorf("not all works: %s", strings.Join(s.Errors, "; "))
			}
			if err != nil {
				return &failure{err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&runDir, "run-dir", defaultRunDir, "folder of the socket, as berth net was told")
	return cmd
}

// maxNetStatus bounds an answer: an endpoint takes some 300 bytes.
const maxNetStatus = 64 << 20

func askNet(ctx context.Context, socket string) (agent.NetStatus, error) {
	var s agent.NetStatus
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://net/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return s, fmt.Errorf("ask berth net: no permission for %s: run this as root, or as a member of the socket's group", socket)
	case errors.Is(err, os.ErrNotExist):
		return s, fmt.Errorf("no berth net runs here: there is no %s. If it has another --run-dir, give it here, too. berth standalone, and an agent without --net external, keep the network themselves: "+
			"ask berth ip ls and berth ip check", socket)
	case err != nil:
		return s, fmt.Errorf("ask berth net at %s: is it running? %w", socket, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxNetStatus))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read the status of berth net: %w", err)
	}
	return s, nil
}

func (c *cli) printNet(s agent.NetStatus) error {
	if c.output == "json" {
		return c.printJSON(s)
	}
	ago := func(t time.Time) string { return shortDuration(s.Now.Sub(t)) }
	fmt.Fprintf(c.out, "host %s, mode %s\n", s.Host, s.Mode)
	switch d := s.Document; {
	case d.Received.IsZero():
		fmt.Fprintf(c.out, "document: none yet, from %s\n", d.Source)
	case d.Contact.IsZero():
		fmt.Fprintf(c.out, "document: version %d, for %s, from %s\n", d.Version, ago(d.Received), d.Source)
	default:
		fmt.Fprintf(c.out, "document: version %d, for %s, from %s, asked %s ago\n", d.Version, ago(d.Received), d.Source, ago(d.Contact))
	}
	if s.Document.Trouble != "" {
		fmt.Fprintf(c.out, "no newer document: %s\n", s.Document.Trouble)
	}
	if err := c.printNetPools(s); err != nil {
		return err
	}
	if err := c.printNetEndpoints(s.Endpoints); err != nil {
		return err
	}
	return c.printNetBGP(s.BGP, ago)
}

func (c *cli) printNetPools(s agent.NetStatus) error {
	var rows [][]string
	for _, p := range s.Pools {
		six := ""
		if p.CIDR6.IsValid() {
			six = p.CIDR6.String()
		}
		var blocks []string
		for _, b := range s.Blocks {
			if p.CIDR.Contains(b.Addr()) {
				blocks = append(blocks, b.String())
			}
		}
		state := "ready"
		if p.NotReady != "" {
			state = p.NotReady
		}
		rows = append(rows, []string{p.Name, p.CIDR.String(), six, strings.Join(blocks, " "), state})
	}
	return c.printPart([]string{"POOL", "NETWORK", "IPV6", "BLOCKS HERE", "STATE"}, rows, "IPV6", "BLOCKS HERE")
}

func (c *cli) printNetEndpoints(endpoints []agent.EndpointStatus) error {
	var rows [][]string
	for _, e := range endpoints {
		row := []string{"", "", e.Container, e.Link, e.MAC, bits(e.Rate), bits(e.Egress), "", e.Fault}
		for i, a := range e.Addresses {
			row[min(i, 1)] = a.String()
		}
		if e.Spoofed > 0 {
			row[7] = strconv.FormatUint(e.Spoofed, 10)
		}
		rows = append(rows, row)
	}
	return c.printPart([]string{"ADDRESS", "IPV6", "CONTAINER", "LINK", "MAC", "IN", "OUT", "FORGED", "FAULT"}, rows, "IPV6", "LINK", "IN", "OUT", "FORGED", "FAULT")
}

func (c *cli) printNetBGP(b *agent.BGPStatus, ago func(time.Time) string) error {
	if b == nil {
		return nil
	}
	whole := ""
	if !b.Complete {
		whole = ", not all peers were heard yet"
	}
	fmt.Fprintf(c.out, "\nBGP: AS %d, router %v, %d prefixes announced, %d learned%s\n", b.AS, b.RouterID, len(b.Announced), b.Learned, whole)
	var rows [][]string
	for _, s := range b.Sessions {
		kept := ""
		if s.Kept {
			kept = "its routes are kept"
		}
		since := ""
		if !s.Since.IsZero() {
			since = ago(s.Since)
		}
		rows = append(rows, []string{s.Name, s.Address.String(), strconv.FormatUint(uint64(s.AS), 10), s.State, since, strconv.Itoa(s.Received), strconv.Itoa(s.Sent), kept, s.LastError})
	}
	return c.printPart([]string{"PEER", "ADDRESS", "AS", "STATE", "FOR", "RECEIVED", "SENT", "KEPT", "LAST ERROR"}, rows, "KEPT", "LAST ERROR")
}

// printPart prints a table below something else; one without rows is left out.
func (c *cli) printPart(head []string, rows [][]string, optional ...string) error {
	if len(rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(c.out); err != nil {
		return err
	}
	return c.printTable(head, rows, optional...)
}

// bits is a rate as people write it; "": no bound.
func bits(rate uint64) string {
	switch {
	case rate == 0:
		return ""
	case rate%1e9 == 0:
		return fmt.Sprintf("%dGbit", rate/1e9)
	case rate%1e6 == 0:
		return fmt.Sprintf("%dMbit", rate/1e6)
	}
	return fmt.Sprintf("%dkbit", rate/1e3)
}
