// Package router sets the host's network as hostnet compiled it: Set the packet filter's forwarding and NAT rules, SetPath
// the links, routes and anti-spoofing rules of routed mode. Both take everything that should be there, compare with what is
// there, add before they remove, and are safe to repeat. What is someone else's is never touched: our rules live in two
// chains of our own, each entered by one jump, the anti-spoofing rules in tables of our own; our links are known by their
// names, our routes by their protocol number.
package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/berth-project/berth/agent/hostnet"
	"github.com/berth-project/berth/spec"
)

// Our chains' names begin so.
const (
	forwardChain = "BERTH-FORWARD"
	natChain     = "BERTH-NAT"
)

// dockerChain is where Docker wants rules of others; where it exists, Docker's own rules follow it.
const dockerChain = "DOCKER-USER"

// maxChain is the longest chain name that iptables takes.
const maxChain = 28

const forwardSysctl = "/proc/sys/net/ipv4/ip_forward"

// tables is the part of iptables that is used; *iptables.IPTables is the real one.
type tables interface {
	ChainExists(table, chain string) (bool, error)
	NewChain(table, chain string) error
	List(table, chain string) ([]string, error)
	Insert(table, chain string, pos int, rule ...string) error
	DeleteById(table, chain string, id int) error
	ClearAndDeleteChain(table, chain string) error
}

// Router sets rules with the iptables command, which is also what Docker uses: both then speak to the same backend
// (nf_tables or legacy), and the order between Docker's rules and ours is one order.
type Router struct {
	ipt          tables
	forward, nat string // our chains
	kernel       kernel // routed mode's
}

// Default is the name whose chains have no suffix.
const Default = "berth"

// New finds iptables. Agents with different names on one machine (a test beside the real one) have chains of their own.
func New(name string) (*Router, error) {
	ipt, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(10))
	if err != nil {
		return nil, fmt.Errorf("find iptables: %w", err)
	}
	r := newRouter(ipt, name)
	r.kernel = system{table: name + "-guard", alias: name, policy: name + "-policy"}
	return r, nil
}

func newRouter(ipt tables, name string) *Router {
	suffix := ""
	if name != Default {
		suffix = "-" + strings.ToUpper(name)
		if len(forwardChain+suffix) > maxChain {
			suffix = "-" + strings.ToUpper(spec.HostnameSuffix(spec.AppID(name)))
		}
	}
	return &Router{ipt: ipt, forward: forwardChain + suffix, nat: natChain + suffix}
}

// Set makes the rules so. What fails does not keep the rest from being set; all errors are returned.
func (r *Router) Set(ctx context.Context, want hostnet.Rules) error {
	var errs []error
	if want.Forward {
		errs = append(errs, forwarding())
	}
	filter := want.Filter
	if docker, err := r.ipt.ChainExists("filter", dockerChain); err != nil {
		errs = append(errs, fmt.Errorf("look for Docker's chains: %w", err))
	} else if !docker {
		filter = want.Alone
	}
	for _, c := range []struct {
		table, chain string
		rules        []hostnet.Rule
	}{{"filter", r.forward, filter}, {"nat", r.nat, want.NAT}} {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := r.chain(c.table, c.chain, c.rules); err != nil {
			errs = append(errs, fmt.Errorf("set chain %s: %w", c.chain, err))
		} else if err := r.jumps(c.table, c.chain, true); err != nil { // entered only when it is complete
			errs = append(errs, fmt.Errorf("enter chain %s: %w", c.chain, err))
		}
	}
	return errors.Join(errs...)
}

// Cleanup removes everything that Set ever made; ip_forward stays, as Docker wants it too.
func (r *Router) Cleanup(ctx context.Context) error {
	errs := []error{r.cleanupPath(ctx), r.cleanupPolicies(ctx), r.SetShims(ctx, nil)}
	for table, chain := range map[string]string{"filter": r.forward, "nat": r.nat} {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := r.jumps(table, chain, false); err != nil {
			errs = append(errs, fmt.Errorf("leave chain %s: %w", chain, err))
		}
		there, err := r.ipt.ChainExists(table, chain)
		if err == nil && there {
			err = r.ipt.ClearAndDeleteChain(table, chain)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove chain %s: %w", chain, err))
		}
	}
	return errors.Join(errs...)
}

// chain makes one of our chains hold exactly the wanted rules, in their order.
func (r *Router) chain(table, chain string, want []hostnet.Rule) error {
	there, err := r.ipt.ChainExists(table, chain)
	if err != nil {
		return err
	}
	if !there {
		if err := r.ipt.NewChain(table, chain); err != nil {
			return err
		}
	}
	have, err := r.list(table, chain)
	if err != nil {
		return err
	}
	for _, s := range Difference(have, texts(want)) {
		if s.Insert {
			err = r.ipt.Insert(table, chain, s.At, strings.Fields(s.Rule)...)
		} else {
			err = r.ipt.DeleteById(table, chain, s.At)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// jumps makes sure that our chain is entered once, in the place where it belongs, and nowhere else.
//
// Filter rules belong into DOCKER-USER: Docker promises to evaluate it before its own rules and never to change what is in
// it. It is Docker's chain, so it is not made here; until Docker has made it (or when Docker runs without iptables) the
// jump is in FORWARD.
func (r *Router) jumps(table, chain string, wanted bool) error {
	places := []string{"POSTROUTING"}
	if table == "filter" {
		places = []string{"FORWARD"}
		docker, err := r.ipt.ChainExists(table, dockerChain)
		if err != nil {
			return err
		}
		if docker {
			places = []string{dockerChain, "FORWARD"}
		}
	}
	jump := []string{"-m", "comment", "--comment", hostnet.Comment, "-j", chain}
	for i, place := range places {
		if err := r.jump(table, place, jump, wanted && i == 0); err != nil {
			return err
		}
	}
	return nil
}

// jump keeps one good jump in the place, or none.
func (r *Router) jump(table, place string, jump []string, wanted bool) error {
	have, err := r.list(table, place)
	if err != nil {
		return err
	}
	text := strings.Join(jump, " ")
	keep := slices.Index(have, text)
	if wanted && (keep < 0 || slices.ContainsFunc(have[:keep], func(rule string) bool { return overtakes(place, rule) })) {
		if err := r.ipt.Insert(table, place, 1, jump...); err != nil {
			return err
		}
		have, keep = slices.Insert(have, 0, text), 0
	}
	for n := len(have) - 1; n >= 0; n-- { // from the back, so that numbers stay true
		if have[n] == text && !(wanted && n == keep) {
			if err := r.ipt.DeleteById(table, place, n+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// overtakes says whether our jump would be useless behind the rule. What an operator puts before it otherwise (a DROP in
// DOCKER-USER) is meant to come first and stays there.
func overtakes(place, rule string) bool {
	switch place {
	case dockerChain:
		return rule == "-j RETURN" // Docker's own last rule
	case "POSTROUTING":
		return strings.Contains(rule, "-j MASQUERADE") || strings.Contains(rule, "-j SNAT")
	}
	return strings.Contains(rule, "-j DROP") || strings.Contains(rule, "-j REJECT") || strings.Contains(rule, "-j DOCKER-ISOLATION")
}

// DockerBridges are the bridges of Docker's networks, as Docker's own rules name them. Asking the packet filter needs no
// daemon that answers, and finds what matters: networks that Docker does not filter are open anyway.
func (r *Router) DockerBridges() ([]string, error) {
	var out []string
	for _, chain := range []string{"FORWARD", "DOCKER-BRIDGE"} { // the latter since Docker 28
		if there, err := r.ipt.ChainExists("filter", chain); err != nil {
			return nil, fmt.Errorf("look for Docker's bridges: %w", err)
		} else if !there {
			continue
		}
		rules, err := r.list("filter", chain)
		if err != nil {
			return nil, fmt.Errorf("look for Docker's bridges: %w", err)
		}
		for _, rule := range rules {
			if f := strings.Fields(rule); len(f) == 4 && f[0] == "-o" && f[2] == "-j" && f[3] == "DOCKER" {
				out = append(out, f[1])
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// list is the rules of a chain as text, without the chain's own line.
func (r *Router) list(table, chain string) ([]string, error) {
	lines, err := r.ipt.List(table, chain)
	if err != nil {
		return nil, err
	}
	var rules []string
	for _, l := range lines {
		if rule, ok := strings.CutPrefix(l, "-A "+chain+" "); ok {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

func texts(rules []hostnet.Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = strings.Join(r, " ")
	}
	return out
}

// forwarding switches ip_forward on, if it is not.
func forwarding() error {
	if b, err := os.ReadFile(forwardSysctl); err == nil && strings.TrimSpace(string(b)) == "1" {
		return nil
	}
	if err := os.WriteFile(forwardSysctl, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("switch IP forwarding on: %w", err)
	}
	return nil
}
