package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/berth-project/berth/scheduler/marathon"
	"github.com/berth-project/berth/spec"
)

// Options say what a Server answers with. Backend and Events are required.
type Options struct {
	Backend Backend
	Events  *Log
	Log     logrus.FieldLogger // default: discards
	// Marathon is how definitions are read.
	Marathon marathon.Options
	// Admit refuses definitions that this installation does not allow; it runs inside Decide for each changed app and must
	// not block. Nil admits all.
	Admit func(app *spec.App) error
	// Logs copies a task's output. Nil: the log call answers 404.
	Logs func(ctx context.Context, taskID string, o LogOptions, w io.Writer) error
	// Instances looks into running instances. Nil: those calls answer 404.
	Instances Instances
	// Info is what /v2/info tells.
	Info Info

	// Level is the process's log level, which /logging changes. Nil: that call answers 404.
	Level LogLevel
	// AllowOrigins are the web origins ("https://host:port", or "*") whose pages may use the API. Default: none.
	AllowOrigins []string

	// MaxConcurrent bounds the requests under way; further ones are answered with 503. Streams and long polls do not count.
	// Default 1000.
	MaxConcurrent int

	MaxBody   int64         // bytes of a request body; default 8 MiB
	Heartbeat time.Duration // of event streams; default 10 s
	// CheckPause lies between the two comparisons of addresses in a check: what differs in both is not just in transition.
	// Default 3 s.
	CheckPause time.Duration
	StopWait   time.Duration    // how long running requests may take when stopping; default 5 s
	Now        func() time.Time // default time.Now
}

// Info is the part of /v2/info that depends on the installation.
type Info struct {
	Version          string // Berth's own, shown as buildref
	Cluster          string // in Zabbix's names of instances; "": spec.DefaultCluster
	Leader           string // host:port
	FrameworkName    string
	Role             string
	User             string // of the hosts, as whom tasks are run; "root" when it is empty
	DefaultNetwork   string
	LocalPortMin     int
	LocalPortMax     int
	HTTPPort         int
	FailoverTimeout  time.Duration
	Hostname         string
	MaintenanceMode  bool
	TaskLaunchWindow time.Duration // task_launch_timeout
}

// LogOptions choose which part of a task's output is wanted.
type LogOptions struct {
	Follow bool
	Tail   int // last lines; negative: all
	// Units are services inside the instance whose logs are wanted instead of the instance's output.
	Units []string
}

// Validate fills the defaults in.
func (o *Options) Validate() error {
	if o.Backend == nil {
		return errors.New("api: no backend given")
	}
	if o.Events == nil {
		return errors.New("api: no event log given")
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	if o.Admit == nil {
		o.Admit = func(*spec.App) error { return nil }
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 8 << 20
	}
	for _, origin := range o.AllowOrigins {
		if u, err := url.Parse(origin); origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin) {
			return fmt.Errorf("allowed origin %q is no web origin, such as https://ui.example.com", origin)
		}
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 1000
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 10 * time.Second
	}
	if o.CheckPause <= 0 {
		o.CheckPause = 3 * time.Second
	}
	if o.StopWait <= 0 {
		o.StopWait = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Info.fill()
	return nil
}

// fill sets what was left out to Marathon's own defaults.
func (i *Info) fill() {
	if i.FrameworkName == "" {
		i.FrameworkName = "berth"
	}
	if i.Role == "" {
		i.Role = "*"
	}
	if i.User == "" {
		i.User = "root"
	}
	if i.LocalPortMin == 0 && i.LocalPortMax == 0 {
		i.LocalPortMin, i.LocalPortMax = 10000, 20000
	}
	if i.FailoverTimeout == 0 {
		i.FailoverTimeout = 7 * 24 * time.Hour
	}
	if i.TaskLaunchWindow == 0 {
		i.TaskLaunchWindow = 5 * time.Minute
	}
}

// Server answers the API's requests.
type Server struct {
	o        Options
	log      logrus.FieldLogger
	measured *measured
	levels   *levels // nil without Options.Level
	kept     kept
}

// New makes a server.
func New(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Server{o: o, log: o.Log.WithField("component", "api"), measured: newMeasured(o.Now())}
	if o.Level != nil {
		s.levels = &levels{of: o.Level}
	}
	return s, nil
}

// Listener is where requests come from, and what they must show.
type Listener struct {
	net.Listener
	// Token is demanded of every request. Empty: none, for unix sockets, whose file mode is the lock.
	Token string
	// DiscoveryToken opens what Zabbix and Prometheus find hosts and instances by, and nothing else; it means nothing without Token.
	// Empty: there is none.
	DiscoveryToken string
}

// stopping is the context key of the server's own context: see streamContext.
type stopping struct{}

// writeTimeout ends requests whose reader takes nothing; streams set deadlines of their own. A change that waits for the disk
// and a long poll stay well below it.
const writeTimeout = 3 * time.Minute

// Serve answers requests on all listeners until ctx ends, then lets running ones finish for StopWait; event streams, log
// streams and long polls end at once. It closes the listeners. The first listener that fails stops all.
func (s *Server) Serve(ctx context.Context, listeners []Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Running requests outlive ctx for StopWait; only streams look at it.
	base := context.WithValue(context.WithoutCancel(ctx), stopping{}, ctx)
	servers := make([]*http.Server, 0, len(listeners))
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		srv := &http.Server{
			Handler: s.handler(l.Token, l.DiscoveryToken), BaseContext: func(net.Listener) context.Context { return base },
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			WriteTimeout: writeTimeout,
			ErrorLog:     httpErrorLog(s.log),
		}
		servers = append(servers, srv)
		go func() {
			if err := srv.Serve(l.Listener); !errors.Is(err, http.ErrServerClosed) {
				err = fmt.Errorf("serve API on %s: %w", l.Addr(), err)
				cancel(err)
				failed <- err
				return
			}
			failed <- nil
		}()
	}
	<-ctx.Done()
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), s.o.StopWait)
	defer done()
	for _, srv := range servers {
		if srv.Shutdown(stop) != nil {
			_ = srv.Close()
		}
	}
	var err error
	for range servers {
		err = errors.Join(err, <-failed)
	}
	return err
}

// streamContext is the request's context, ended also when the server stops. It marks the request as one that lasts.
func streamContext(r *http.Request) (context.Context, context.CancelFunc) {
	streaming(r)
	ctx, cancel := context.WithCancel(r.Context())
	if server, ok := r.Context().Value(stopping{}).(context.Context); ok {
		if server.Err() != nil {
			cancel() // at once, not some time later
		}
		release := context.AfterFunc(server, cancel)
		return ctx, func() { release(); cancel() }
	}
	return ctx, cancel
}
