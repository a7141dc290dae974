package services

import (
	"cmp"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// MetaContainer is the id of the container, in the meta of services of containers that no document names.
const MetaContainer = "berth-container"

// endpoint is one port of a container: where it listens, and how people name it.
type endpoint struct {
	port     int // as the container exposes it, or as Marathon's definition has it: what SERVICE_<port>_ means
	listen   int // what clients connect to
	protocol string
	hostIP   netip.Addr // where the host publishes it, if not on all of its addresses
	name     string     // in Marathon's definition
}

// others decides the services of the containers that no document names. taken are the ids that are used already.
func others(in Input, taken map[string]bool) (wanted []Service, withheld []Withheld) {
	if in.Policy.Others == "" || in.Policy.Others == OthersNone {
		return nil, nil
	}
	byID := map[string]Container{}
	for _, c := range in.Others {
		byID[c.ID] = c
	}
	for _, c := range slices.SortedStableFunc(slices.Values(in.Others), func(a, b Container) int { return cmp.Compare(a.Name, b.Name) }) {
		said := variables(c, in.Policy)
		asks := spec.NamesService(said...)
		if in.Policy.Others == OthersAsking && !asks {
			continue
		}
		w, no := in.other(joined(c, byID), said, asks)
		withheld = append(withheld, no...)
		for _, s := range w {
			if taken[s.ID] {
				withheld = append(withheld, Withheld{ID: s.ID, Task: c.ID, Container: c.Name, Reason: ReasonTaken, Tell: true})
				continue
			}
			taken[s.ID] = true
			wanted = append(wanted, s)
		}
	}
	return wanted, withheld
}

// joined is a container with the network of the one whose network it has joined (--network container:NAME).
func joined(c Container, byID map[string]Container) Container {
	name, ok := strings.CutPrefix(c.NetworkMode, "container:")
	if !ok {
		return c
	}
	with, ok := byID[name]
	for _, other := range byID {
		if !ok && other.Name == name {
			with, ok = other, true
		}
	}
	if !ok || strings.HasPrefix(with.NetworkMode, "container:") {
		return c
	}
	c.Addresses, c.NetworkMode = with.Addresses, with.NetworkMode
	c.Ports = slices.Clone(c.Ports)
	for i, p := range c.Ports {
		for _, q := range with.Ports {
			if p.HostPort == 0 && q.Port == p.Port && q.Protocol == p.Protocol {
				c.Ports[i] = q
			}
		}
	}
	return c
}

// other decides the services of one container.
func (in Input) other(c Container, said []map[string]string, asks bool) (wanted []Service, withheld []Withheld) {
	refuse := func(id, reason string, tell bool) {
		withheld = append(withheld, Withheld{ID: id, Task: c.ID, Container: c.Name, Reason: reason, Tell: tell})
	}
	base := Prefix + in.Host + ":" + c.Name
	at := in.locate(c, spec.ReadServiceSettings(-1, said...), asks)
	if at.reason != "" {
		refuse(base, at.reason, !at.quiet)
		return nil, withheld
	}
	ends := in.endpoints(c, at)
	for i, e := range ends {
		settings := spec.ReadServiceSettings(e.port, said...)
		name := in.nameOf(c, settings, ends, i)
		if settings.Get("ignore") != "" || name == "" {
			continue
		}
		id := base + ":" + strconv.Itoa(e.port)
		if e.protocol == "udp" {
			id += ":udp"
		}
		address, reason := in.addressOf(c, at, e)
		if given := settings.Get("id"); given != "" {
			if id = given; !validID(given) {
				id, reason = base, ReasonBadID
			}
		}
		if reason != "" {
			refuse(id, reason, true)
			continue
		}
		s := Service{
			ID: id, Name: name, Tags: in.tagsOf(c, settings, e), Address: address.String(), Port: e.listen,
			Meta: in.metaOf(c, settings, e), Task: c.ID, Container: c.Name, Seat: spec.SeatID{App: spec.AppID(appOf(c, in.Policy))},
		}
		s.Check, s.Refused = checkFrom(settings.CheckSettings(), address, e.listen)
		if s.Check != nil {
			s.Check.Status = cmp.Or(s.Check.Status, "critical")
			s.Meta[MetaCheck] = s.Check.Digest()
		}
		wanted = append(wanted, s)
	}
	return wanted, withheld
}

// endpoints are the container's ports that can be reached at the spot, in the order of Marathon's or by number.
func (in Input) endpoints(c Container, at spot) []endpoint {
	var out []endpoint
	seen := map[Port]bool{}
	for _, p := range c.Ports {
		key := Port{Port: p.Port, Protocol: p.Protocol}
		e := endpoint{port: p.Port, listen: p.Port, protocol: p.Protocol}
		if at.host && !at.direct {
			if p.HostPort == 0 {
				continue
			}
			e.listen = p.HostPort
			if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
				e.hostIP = p.HostIP
			}
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, e)
		}
	}
	if in.Policy.marathon(c) {
		return marathonEndpoints(c.Env, out, at)
	}
	return out
}

// addressOf is where the service is said to be, or why nowhere.
func (in Input) addressOf(c Container, at spot, e endpoint) (netip.Addr, string) {
	if in.Policy.IPLabel != "" && c.Labels[in.Policy.IPLabel] != "" {
		text, _, _ := strings.Cut(c.Labels[in.Policy.IPLabel], "/")
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return netip.Addr{}, ReasonBadLabel
		}
		return a, ""
	}
	switch {
	case !at.host:
		return at.address, ""
	case in.HostForced && in.HostAddress.IsValid():
		return in.HostAddress, ""
	case e.hostIP.IsValid():
		return e.hostIP, ""
	case at.address.IsValid():
		return at.address, ""
	case in.Policy.marathon(c):
		if a, err := netip.ParseAddr(c.Env["HOST"]); err == nil {
			return a, ""
		}
	}
	return netip.Addr{}, ReasonNoHostAddress
}

// nameOf is the service's name; "" when it gets none and is not to be registered. By Registrator's rule the port is added
// when there are several, unless the name was given to the very port. By Marathon's, the first port is the app itself.
func (in Input) nameOf(c Container, settings spec.ServiceSettings, ends []endpoint, i int) string {
	number := strconv.Itoa(ends[i].port)
	if name := settings.Get("name"); name != "" {
		if len(ends) > 1 && !settings.Own["name"] {
			name += "-" + number
		}
		return name
	}
	if in.Policy.Explicit {
		return ""
	}
	if in.Policy.marathon(c) {
		name := cmp.Or(c.Env[marathonLabel+spec.AppLabelService], spec.ServiceName(spec.AppID(c.Env[marathonApp])))
		if i > 0 {
			name += "-" + cmp.Or(ends[i].name, number)
		}
		return name
	}
	name := imageName(c.Image)
	if len(ends) > 1 {
		name += "-" + number
	}
	return name
}

// imageName is the last part of an image's name, without tag and digest.
func imageName(image string) string {
	name, _, _ := strings.Cut(path.Base(image), ":")
	name, _, _ = strings.Cut(name, "@")
	return name
}

func (in Input) tagsOf(c Container, settings spec.ServiceSettings, e endpoint) []string {
	tags := spec.SplitTags(settings.Get("tags"))
	if in.Policy.marathon(c) {
		for _, t := range strings.Split(c.Env[marathonLabel+spec.AppLabelTags], ",") {
			if t = strings.TrimSpace(t); t != "" {
				tags = append(tags, t)
			}
		}
	}
	tags = append(tags, in.Policy.Tags...)
	if e.protocol == "udp" {
		tags = append(tags, "udp")
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// metaOf is ours and what the container adds.
func (in Input) metaOf(c Container, settings spec.ServiceSettings, e endpoint) map[string]string {
	own := map[string]string{MetaOwner: in.Owner, MetaContainer: c.ID}
	if in.Policy.marathon(c) {
		task := c.Env[marathonTask]
		own[MetaApp], own[MetaTask], own[MetaVersion] = c.Env[marathonApp], task, c.Env["MARATHON_APP_VERSION"]
		own[MetaInstance], _, _ = strings.Cut(task, "._app")
	}
	more := settings.ServiceAttributes()
	if e.name != "" {
		more = maps.Clone(more)
		more["port-name"] = e.name
	}
	return fill(own, more)
}

func validID(id string) bool {
	for _, c := range []byte(id) {
		if !strings.ContainsRune("._:@-", rune(c)) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return len(id) <= MaxMetaValue
}
