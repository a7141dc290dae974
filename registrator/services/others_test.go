package services

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

func pairs(text ...string) map[string]string {
	out := map[string]string{}
	for _, t := range text {
		k, v, _ := strings.Cut(t, "=")
		out[k] = v
	}
	return out
}

func addresses(text ...string) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for network, a := range pairs(text...) {
		out[network] = netip.MustParseAddr(a)
	}
	return out
}

var anywhere = netip.IPv4Unspecified()

// published is a port of a container on Docker's default bridge.
func published(port, host int) Port {
	return Port{Port: port, Protocol: "tcp", HostIP: anywhere, HostPort: host}
}

// brief is what a test compares of a service, on one line.
func brief(s Service) string {
	line := s.ID + " " + s.Name + " " + s.Address + ":" + itoa(s.Port)
	if len(s.Tags) > 0 {
		line += " [" + strings.Join(s.Tags, " ") + "]"
	}
	return line
}

func itoa(n int) string {
	return strings.TrimPrefix(netip.AddrPortFrom(anywhere, uint16(n)).String(), "0.0.0.0:")
}

// registratorOnly is the policy of a drop-in for Registrator.
func registratorOnly(change func(*Policy)) Policy {
	p := Policy{Others: OthersAll, PublishedOnly: true, Marathon: true}
	if change != nil {
		change(&p)
	}
	return p
}

func TestOthers(t *testing.T) {
	web := Container{ID: "c1", Name: "web", Image: "reg.example.com:5000/team/nginx:1.25", NetworkMode: "default", Addresses: addresses("bridge=172.17.0.2")}
	with := func(c Container, change func(*Container)) Container {
		change(&c)
		return c
	}
	cases := []struct {
		name   string
		policy Policy
		c      Container
		want   []string
		reason string // of what is withheld
	}{
		{
			name: "image and one published port", policy: registratorOnly(nil),
			c:    with(web, func(c *Container) { c.Ports = []Port{published(80, 8080), {Port: 443, Protocol: "tcp"}} }),
			want: []string{"berth:h1:web:80 nginx 192.0.2.1:8080"},
		},
		{
			name: "two published ports", policy: registratorOnly(nil),
			c:    with(web, func(c *Container) { c.Ports = []Port{published(80, 8080), published(443, 8443)} }),
			want: []string{"berth:h1:web:443 nginx-443 192.0.2.1:8443", "berth:h1:web:80 nginx-80 192.0.2.1:8080"},
		},
		{
			name: "one port at two addresses", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.Ports = []Port{published(80, 8080), {Port: 80, Protocol: "tcp", HostIP: netip.IPv6Unspecified(), HostPort: 8080}}
			}),
			want: []string{"berth:h1:web:80 nginx 192.0.2.1:8080"},
		},
		{
			name: "udp", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.Ports = []Port{{Port: 53, Protocol: "udp", HostIP: anywhere, HostPort: 53}}
				c.Env = pairs("SERVICE_NAME=dns")
			}),
			want: []string{"berth:h1:web:53:udp dns 192.0.2.1:53 [udp]"},
		},
		{
			name: "published at one address of the host", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.Ports = []Port{{Port: 80, Protocol: "tcp", HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080}}
			}),
			want: []string{"berth:h1:web:80 nginx 127.0.0.1:8080"},
		},
		{
			name: "names, tags and ids", policy: registratorOnly(func(p *Policy) { p.Tags = []string{"all"} }),
			c: with(web, func(c *Container) {
				c.Ports = []Port{published(80, 8080), published(443, 8443), published(9000, 9000)}
				c.Env = pairs("SERVICE_NAME=shop", `SERVICE_TAGS=b,a\,c`, "SERVICE_443_ID=shop.1")
				c.Labels = pairs("SERVICE_80_NAME=front", "SERVICE_9000_IGNORE=x")
			}),
			want: []string{"berth:h1:web:80 front 192.0.2.1:8080 [a,c all b]", "shop.1 shop-443 192.0.2.1:8443 [a,c all b]"},
		},
		{
			name: "an id that no URL holds", policy: registratorOnly(nil), reason: ReasonBadID,
			c: with(web, func(c *Container) { c.Ports = []Port{published(80, 8080)}; c.Env = pairs("SERVICE_ID=a/../b") }),
		},
		{
			name: "one id for two ports", policy: registratorOnly(nil), reason: ReasonTaken,
			c: with(web, func(c *Container) {
				c.Ports = []Port{published(80, 8080), published(443, 8443)}
				c.Env = pairs("SERVICE_ID=x")
			}),
			want: []string{"x nginx-80 192.0.2.1:8080"},
		},
		{
			name: "explicit", policy: registratorOnly(func(p *Policy) { p.Explicit = true }),
			c: with(web, func(c *Container) {
				c.Ports, c.Env = []Port{published(80, 8080), published(443, 8443)}, pairs("SERVICE_443_NAME=tls")
			}),
			want: []string{"berth:h1:web:443 tls 192.0.2.1:8443"},
		},
		{name: "ignored", policy: registratorOnly(nil), c: with(web, func(c *Container) { c.Ports, c.Labels = []Port{published(80, 8080)}, pairs("SERVICE_IGNORE=true") })},
		{
			name: "nothing published", policy: registratorOnly(nil), reason: ReasonNothing,
			c: with(web, func(c *Container) { c.Ports = []Port{{Port: 80, Protocol: "tcp"}} }),
		},
		{
			name: "internal", policy: registratorOnly(func(p *Policy) { p.Internal = true }),
			c:    with(web, func(c *Container) { c.Ports = []Port{published(80, 8080)} }),
			want: []string{"berth:h1:web:80 nginx 172.17.0.2:80"},
		},
		{
			name: "internal, two networks", policy: registratorOnly(func(p *Policy) { p.Internal = true }), reason: ReasonNetworks,
			c: with(web, func(c *Container) {
				c.Ports, c.Addresses = []Port{published(80, 8080)}, addresses("a=10.1.0.2", "b=10.2.0.2")
			}),
		},
		{
			name: "internal, two networks and a choice", policy: registratorOnly(func(p *Policy) { p.Internal = true }),
			c: with(web, func(c *Container) {
				c.Ports, c.Addresses = []Port{published(80, 8080)}, addresses("a=10.1.0.2", "b=10.2.0.2")
				c.Labels = pairs("SERVICE_NETWORK=b")
			}),
			want: []string{"berth:h1:web:80 nginx 10.2.0.2:80"},
		},
		{
			name: "the network of the option", policy: registratorOnly(func(p *Policy) { p.Network = "a" }),
			c: with(web, func(c *Container) {
				c.Ports, c.Addresses = []Port{published(80, 8080)}, addresses("a=10.1.0.2", "b=10.2.0.2")
			}),
			want: []string{"berth:h1:web:80 nginx 10.1.0.2:80"},
		},
		{
			name: "a network that it is not on", policy: registratorOnly(nil), reason: ReasonNoNetwork,
			c: with(web, func(c *Container) { c.Ports, c.Labels = []Port{published(80, 8080)}, pairs("SERVICE_NETWORK=b") }),
		},
		{
			name: "Berth's pool before published ports", policy: Policy{Others: OthersAsking},
			c: with(web, func(c *Container) {
				c.Ports, c.Addresses, c.Env = []Port{published(80, 8080)}, addresses("pool=10.9.0.5", "other=10.1.0.1"), pairs("SERVICE_NAME=x")
			}),
			want: []string{"berth:h1:web:80 x 10.9.0.5:80"},
		},
		{
			name: "it does not ask", policy: Policy{Others: OthersAsking},
			c: with(web, func(c *Container) { c.Ports, c.Env = []Port{published(80, 8080)}, pairs("SERVICE_TAGS=x") }),
		},
		{
			name: "it asks, on the only network", policy: Policy{Others: OthersAsking},
			c: with(web, func(c *Container) {
				c.NetworkMode, c.Addresses, c.Ports = "vlan7", addresses("vlan7=10.7.0.5"), []Port{{Port: 80, Protocol: "tcp"}}
				c.Labels = pairs("SERVICE_80_NAME=x")
			}),
			want: []string{"berth:h1:web:80 x 10.7.0.5:80"},
		},
		{
			name: "the host's network", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.NetworkMode, c.Addresses, c.Ports = "host", nil, []Port{{Port: 80, Protocol: "tcp"}}
			}),
			want: []string{"berth:h1:web:80 nginx 192.0.2.1:80"},
		},
		{
			name: "address in a label", policy: registratorOnly(func(p *Policy) { p.Internal, p.IPLabel = true, "ip" }),
			c:    with(web, func(c *Container) { c.Ports, c.Labels = []Port{published(80, 8080)}, pairs("ip=10.5.0.9/24") }),
			want: []string{"berth:h1:web:80 nginx 10.5.0.9:80"},
		},
		{
			name: "no address in the label", policy: registratorOnly(func(p *Policy) { p.IPLabel = "ip" }), reason: ReasonBadLabel,
			c: with(web, func(c *Container) { c.Ports, c.Labels = []Port{published(80, 8080)}, pairs("ip=here") }),
		},
		{
			name: "Marathon, bridge mode", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.Ports = []Port{published(80, 31005), published(8081, 31004)}
				c.Env = pairs("MARATHON_APP_ID=/prod/web.shop", "MESOS_TASK_ID=prod_web.instance-1._app.1", "MARATHON_APP_VERSION=v1", "PORT0=31004", "PORT1=31005",
					"PORT_8081=31004", "PORT_80=31005", "PORT_ADMIN=31005", "MARATHON_APP_LABEL_BERTH_TAGS=x, y", "MARATHON_APP_LABEL_SERVICE_TAGS=z")
			}),
			want: []string{"berth:h1:web:80 prod-web-shop-admin 192.0.2.1:31005 [x y z]", "berth:h1:web:8081 prod-web-shop 192.0.2.1:31004 [x y z]"},
		},
		{
			name: "Marathon, host mode", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.NetworkMode, c.Ports, c.Addresses = "host", []Port{{Port: 80, Protocol: "tcp"}}, nil
				c.Env = pairs("MARATHON_APP_ID=/a", "MESOS_TASK_ID=a.1", "PORT0=31000", "PORT1=31001", "PORT_10000=31000", "PORT_10001=31001", "SERVICE_10001_NAME=b")
			}),
			want: []string{"berth:h1:web:10000 a 192.0.2.1:31000", "berth:h1:web:10001 b 192.0.2.1:31001"},
		},
		{
			name: "Marathon, a container network", policy: registratorOnly(nil),
			c: with(web, func(c *Container) {
				c.NetworkMode, c.Addresses = "calico", addresses("calico=10.3.0.7")
				c.Env = pairs("MARATHON_APP_ID=/a", "MESOS_TASK_ID=a.1", "PORT0=80", "PORT_80=80", "PORT_HTTP=80")
			}),
			want: []string{"berth:h1:web:80 a 10.3.0.7:80"},
		},
		{
			name: "Marathon as plain Registrator sees it", policy: registratorOnly(func(p *Policy) { p.Marathon = false }),
			c: with(web, func(c *Container) {
				c.Ports, c.Env = []Port{published(80, 31005)}, pairs("MARATHON_APP_ID=/a", "MESOS_TASK_ID=a.1", "PORT0=31005")
			}),
			want: []string{"berth:h1:web:80 nginx 192.0.2.1:31005"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Host: "h1", Owner: "o1", Policy: c.policy, Others: []Container{c.c}, HostAddress: netip.MustParseAddr("192.0.2.1")}
			in.State.Document.Pools = []spec.Pool{{Name: "pool"}}
			wanted, withheld := From(in)
			var got []string
			for _, s := range wanted {
				got = append(got, brief(s))
				if s.Meta[MetaOwner] != "o1" || s.Meta[MetaContainer] != "c1" || s.Container != "web" {
					t.Errorf("%s: %v of %q", s.ID, s.Meta, s.Container)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("services (-want +got):\n%s", d)
			}
			reason := ""
			for _, w := range withheld {
				reason = w.Reason
			}
			if reason != c.reason {
				t.Errorf("withheld for %q, want %q", reason, c.reason)
			}
		})
	}
}

func TestOthersMeta(t *testing.T) {
	c := Container{
		ID: "c1", Name: "web", Image: "x", NetworkMode: "host", Ports: []Port{{Port: 80, Protocol: "tcp"}},
		Env: pairs("MARATHON_APP_ID=/prod/web", "MESOS_TASK_ID=prod_web.instance-7._app.2", "MARATHON_APP_VERSION=v1", "PORT0=80", "PORT_HTTP=80",
			"SERVICE_REGION=eu", "SERVICE_BERTH-OWNER=me", "SERVICE_CHECK_HTTP=/up", "HOST=192.0.2.44"),
	}
	wanted, _ := From(Input{Host: "h1", Owner: "o1", Policy: registratorOnly(nil), Others: []Container{c}})
	if len(wanted) != 1 {
		t.Fatalf("%d services", len(wanted))
	}
	s := wanted[0]
	want := map[string]string{
		MetaOwner: "o1", MetaContainer: "c1", MetaApp: "/prod/web", MetaTask: "prod_web.instance-7._app.2", MetaInstance: "prod_web.instance-7", MetaVersion: "v1",
		"region": "eu", "port-name": "http", MetaCheck: s.Check.Digest(),
	}
	if d := cmp.Diff(want, s.Meta); d != "" {
		t.Errorf("meta (-want +got):\n%s", d)
	}
	if s.Check.HTTP != "http://192.0.2.44:80/up" || s.Check.Status != "critical" {
		t.Errorf("check %+v", s.Check)
	}
	if Holder(s.Meta) != "c1" {
		t.Errorf("held by %q", Holder(s.Meta))
	}
}

func TestJoinedNetwork(t *testing.T) {
	sandbox := Container{ID: "c0", Name: "sandbox", Image: "pause", NetworkMode: "bridge", Ports: []Port{published(80, 8080)}, Labels: pairs("SERVICE_IGNORE=1")}
	for _, mode := range []string{"container:c0", "container:sandbox"} {
		c := Container{ID: "c1", Name: "web", Image: "web", NetworkMode: mode, Ports: []Port{{Port: 80, Protocol: "tcp"}}}
		wanted, _ := From(Input{Host: "h1", Policy: registratorOnly(nil), Others: []Container{sandbox, c}, HostAddress: anywhere})
		if len(wanted) != 1 || brief(wanted[0]) != "berth:h1:web:80 web 0.0.0.0:8080" {
			t.Errorf("%s: %v", mode, wanted)
		}
	}
	c := Container{ID: "c1", Name: "web", Image: "web", NetworkMode: "container:gone", Ports: []Port{{Port: 80, Protocol: "tcp"}}}
	if wanted, _ := From(Input{Host: "h1", Policy: registratorOnly(nil), Others: []Container{c}, HostAddress: anywhere}); len(wanted) != 0 {
		t.Errorf("without its network: %v", wanted)
	}
}

// FuzzOthers: nothing that a container says breaks what is registered, nor reaches into what is Berth's.
func FuzzOthers(f *testing.F) {
	f.Add("SERVICE_NAME", "x", "PORT0", "80")
	f.Add("SERVICE_80_CHECK_INTERVAL", "-1s", "SERVICE_CHECK_TCP", "1")
	f.Add("SERVICE_ID", "berth:h1:other:80", "PORT_80", "99999")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		env := map[string]string{"MARATHON_APP_ID": "/a", "MESOS_TASK_ID": "t", k1: v1, k2: v2}
		c := Container{ID: "c1", Name: "web", Image: v1, NetworkMode: "host", Ports: []Port{{Port: 80, Protocol: "tcp"}}, Env: env, Labels: map[string]string{k2: v1}}
		wanted, _ := From(Input{Host: "h1", Owner: "o1", Policy: registratorOnly(nil), Others: []Container{c}, HostAddress: anywhere})
		seen := map[string]bool{}
		for _, s := range wanted {
			if seen[s.ID] || s.ID == "" || strings.ContainsAny(s.ID, "/?#% ") || s.Meta[MetaOwner] != "o1" || s.Meta[MetaContainer] != "c1" || len(s.Meta) > maxMetaPairs {
				t.Errorf("%+v", s)
			}
			seen[s.ID] = true
			if s.Check != nil && s.Check.TTL == 0 && s.Check.Interval < minInterval {
				t.Errorf("check %+v", s.Check)
			}
		}
	})
}
