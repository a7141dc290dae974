package docker

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSetOption(t *testing.T) {
	yes, n := true, int64(100)
	ten := 10
	for _, c := range []struct {
		options string // "key=value", by spaces
		want    CreateSpec
	}{
		{"hostname=web-0 user=1000:1000 workdir=/srv net=pool", CreateSpec{Hostname: "web-0", User: "1000:1000", WorkingDir: "/srv", Network: "pool"}},
		{"ip=10.1.2.3 ip6=fd00::1", CreateSpec{IP: netip.MustParseAddr("10.1.2.3"), IP6: netip.MustParseAddr("fd00::1")}},
		{"cap-add=NET_ADMIN cap-add=SYS_TIME cap-drop=ALL", CreateSpec{CapAdd: []string{"NET_ADMIN", "SYS_TIME"}, CapDrop: []string{"ALL"}}},
		{"cpu-shares=512 cpu-quota=30000 cpu-period=100000 cpus=1.5", CreateSpec{CPUShares: 512, CPUQuota: 30000, CPUPeriod: 100000, NanoCPUs: 1_500_000_000}},
		{"memory=64m memory-swap=-1 memory-reservation=32M shm-size=1g", CreateSpec{Memory: 64 << 20, MemorySwap: -1, MemoryReservation: 32 << 20, ShmSize: 1 << 30}},
		{"pids-limit=100 stop-timeout=10 stop-signal=SIGRTMIN+3", CreateSpec{PidsLimit: &n, StopTimeout: &ten, StopSignal: "SIGRTMIN+3"}},
		{"privileged=true read-only=1 init=true tty=false", CreateSpec{Privileged: true, ReadOnly: true, Init: &yes}},
		{"env=A=b=c label=k=v label=alone sysctl=net.core.somaxconn=1", CreateSpec{Env: []string{"A=b=c"}, Labels: map[string]string{"k": "v", "alone": ""}, Sysctls: map[string]string{"net.core.somaxconn": "1"}}},
		{"volume=/a:/b:ro volume=data:/c volume=/d", CreateSpec{Binds: []string{"/a:/b:ro", "data:/c"}, Volumes: []string{"/d"}}},
		{"mount=type=bind,src=/a,dst=/b,readonly mount=type=volume,source=v,target=/c mount=type=tmpfs,target=/t", CreateSpec{Binds: []string{"/a:/b:ro", "v:/c"}, Tmpfs: map[string]string{"/t": ""}}},
		{"tmpfs=/run:size=1m tmpfs=/tmp", CreateSpec{Tmpfs: map[string]string{"/run": "size=1m", "/tmp": ""}}},
		{"publish=31001:80 publish=127.0.0.1:31002:53/udp publish=81", CreateSpec{PortBindings: []PortBinding{{"", 31001, 80, "tcp"}, {"127.0.0.1", 31002, 53, "udp"}, {"", 0, 81, "tcp"}}}},
		{"device=/dev/fuse device=/dev/a:/dev/b:r device=/dev/c:rw", CreateSpec{Devices: []Device{{"/dev/fuse", "/dev/fuse", "rwm"}, {"/dev/a", "/dev/b", "r"}, {"/dev/c", "/dev/c", "rw"}}}},
		{"ulimit=nofile=1024:2048 ulimit=nproc=5", CreateSpec{Ulimits: []Ulimit{{"nofile", 1024, 2048}, {"nproc", 5, 5}}}},
		{"dns=1.2.3.4 dns-search=a dns-option=b add-host=h:1.2.3.4 group-add=audio security-opt=no-new-privileges network-alias=x mac-address=02:42:0a:00:00:01",
			CreateSpec{DNS: []string{"1.2.3.4"}, DNSSearch: []string{"a"}, DNSOptions: []string{"b"}, AddHosts: []string{"h:1.2.3.4"}, GroupAdd: []string{"audio"}, SecurityOpt: []string{"no-new-privileges"}, NetworkAliases: []string{"x"}, MacAddress: "02:42:0a:00:00:01"}},
		{"log-driver=syslog log-opt=tag=x entrypoint=/bin/x", CreateSpec{LogDriver: "syslog", LogOpts: map[string]string{"tag": "x"}, Entrypoint: []string{"/bin/x"}}},
	} {
		t.Run(c.options, func(t *testing.T) {
			var s CreateSpec
			for _, o := range strings.Fields(c.options) {
				k, v, _ := strings.Cut(o, "=")
				if err := s.SetOption(k, v); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(c.want, s, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSetOptionRefuses(t *testing.T) {
	for _, c := range []struct{ key, value, text string }{
		{"nosuchflag", "1", "unknown flag: --nosuchflag"}, {"name", "x", "unknown flag: --name"}, {"rm", "true", "unknown flag: --rm"}, {"restart", "always", "unknown flag: --restart"},
		{"ip", "web", `invalid argument "web" for "--ip" flag`}, {"ip", "fd00::1", "wrong address family"}, {"memory", "lots", "invalid argument"}, {"cpu-quota", "1.5", "invalid argument"},
		{"cpus", "NaN", "invalid argument"}, {"privileged", "", "invalid argument"}, {"volume", "relative", "wanted"}, {"volume", "/a:b", "wanted"}, {"mount", "type=npipe,target=/a,src=x", "not supported"},
		{"device", "fuse", "absolute"}, {"env", "A", "wanted"}, {"publish", "x", "invalid"}, {"ulimit", "x", "invalid"},
	} {
		t.Run(c.key+"="+c.value, func(t *testing.T) {
			var s CreateSpec
			if err := s.SetOption(c.key, c.value); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %s", err, c.text)
			}
		})
	}
}

func FuzzSetOption(f *testing.F) {
	for _, k := range []string{"volume", "mount", "publish", "device", "ulimit", "cpus", "memory", "ip", "tmpfs"} {
		f.Add(k, "a:/b:c")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		var s CreateSpec
		if err := s.SetOption(key, value); err != nil {
			return
		}
		if _, err := s.config(); err == nil {
			s.hostConfig()
			s.networking()
		}
	})
}
