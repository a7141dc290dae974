package sampler

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-project/berth/monitor/figures"
)

// Bounds of what is looked at in one container.
const (
	maxServices    = 64
	maxNames       = 16 << 10 // bytes of a folder's entries
	maxServiceName = 120
)

// scanFolders are where s6-svscan works: in Berth's images and those of s6-overlay 3, and in s6-overlay before that.
func scanFolders() []string { return []string{"run/service", "run/s6/services"} }

// readServices reads how the services are that the S6 in a container supervises; nil without one. root is the container's root as
// /proc shows it. Its files are those of people who may be up to anything, so the kernel resolves every name below that root, links
// included; nothing is opened that is not a plain file or folder, as opening a device can do something; and all is bounded. A
// kernel before Linux 5.6 cannot resolve names so, and shows no services.
func readServices(root string, buf []byte) []figures.Service {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(top)
	for _, folder := range scanFolders() {
		scan, err := openIn(top, folder, unix.S_IFDIR)
		if err != nil {
			continue
		}
		services := servicesIn(top, scan, folder, buf)
		unix.Close(scan)
		if services != nil {
			return services
		}
	}
	return nil
}

// servicesIn are the services of a scan folder.
func servicesIn(top, scan int, folder string, buf []byte) []figures.Service {
	var all []figures.Service
	for _, name := range entries(scan, buf) {
		if len(all) == maxServices {
			break
		}
		b, err := fileIn(top, folder+"/"+name+"/supervise/status", buf[:0])
		if err != nil {
			continue
		}
		service, ok := parseStatus(b, time.Now())
		if !ok {
			continue
		}
		service.Name = name
		// One that has no way to say when it is ready is so when it is up.
		if service.Up && !service.Ready {
			if fd, err := openIn(top, folder+"/"+name+"/notification-fd", 0); errors.Is(err, unix.ENOENT) {
				service.Ready = true
			} else if err == nil {
				unix.Close(fd)
			}
		}
		all = append(all, service)
	}
	return all
}

// entries are the names in a folder that can be services', sorted.
func entries(dir int, buf []byte) []string {
	var names []string
	for read := 0; read < maxNames; {
		n, err := unix.Getdents(dir, buf[:cap(buf)])
		if n <= 0 || err != nil {
			break
		}
		read += n
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, ".") || len(name) > maxServiceName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
	})
	slices.Sort(names)
	return names
}

// openIn opens a name below top, of this kind of file (0: any, and only to know that it is there).
func openIn(top int, name string, kind uint32) (int, error) {
	look, err := unix.Openat2(top, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil || kind == 0 {
		return look, err
	}
	defer unix.Close(look)
	var stat unix.Stat_t
	if err := unix.Fstat(look, &stat); err != nil {
		return -1, err
	}
	if stat.Mode&unix.S_IFMT != kind {
		return -1, unix.EINVAL
	}
	// The very file that was looked at: its name may mean another one by now.
	return unix.Open("/proc/self/fd/"+strconv.Itoa(look), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// fileIn reads the beginning of a plain file below top.
func fileIn(top int, name string, buf []byte) ([]byte, error) {
	fd, err := openIn(top, name, unix.S_IFREG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:statusMax+1])
	if n < 0 || err != nil {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return buf[:n], nil
}

// The status file of s6-supervise, as s6's library writes it (s6_svstatus_pack): two TAI64N stamps, of the last change and of when
// the service was ready; the pid; since s6 2.13 the process group; how the last process ended; flags.
const (
	statusOld = 35
	statusNew = 43
	statusMax = statusNew

	flagFinishing = 1 << 1
	flagWantUp    = 1 << 2
	flagReady     = 1 << 3
)

// taiOffset is what TAI64 labels of 1970-01-01 begin at, with the ten seconds by which s6 takes TAI to differ from UTC then.
const taiOffset = 1<<62 + 10

// parseStatus reads a status file.
func parseStatus(b []byte, now time.Time) (figures.Service, bool) {
	if len(b) != statusOld && len(b) != statusNew {
		return figures.Service{}, false
	}
	pid, flags := binary.BigEndian.Uint64(b[24:]), b[len(b)-1]
	if pid > math.MaxInt32 {
		return figures.Service{}, false
	}
	// A service whose finish script runs is down, although a process has its place.
	s := figures.Service{Up: pid > 0 && flags&flagFinishing == 0, Want: flags&flagWantUp != 0}
	if s.Up {
		s.Pid, s.Ready = int(pid), flags&flagReady != 0
	}
	seconds, nanoseconds := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	if seconds < taiOffset || seconds-taiOffset > math.MaxInt32*16 || nanoseconds >= 1e9 {
		return figures.Service{}, false
	}
	s.For = max(now.Sub(time.Unix(int64(seconds-taiOffset), int64(nanoseconds))).Seconds(), 0)
	return s, true
}
