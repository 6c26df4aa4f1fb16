//! The story of one mesh: up, looked at, changed, broken, down.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::programs::fetch;

const MANIFEST: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: reviews}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {app: reviews}}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: web}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: red}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, labels: {app: reviews}}
spec:
  replicas: 2
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec:
      serviceAccountName: reviews
      containers:
        - name: reviews
          image: example.com/reviews:1
          env:
            - {name: VERSION, value: v1}
            - name: COLOUR
              valueFrom: {configMapKeyRef: {name: settings, key: colour}}
          ports: [{name: web, containerPort: 9080}]
          readinessProbe: {httpGet: {path: /health, port: web}, periodSeconds: 1}
          volumeMounts: [{name: settings, mountPath: /data/settings}]
      volumes:
        - {name: settings, configMap: {name: settings}}
---
apiVersion: v1
kind: Pod
metadata:
  name: plain
  labels: {app: plain, sidecar.istio.io/inject: "false"}
spec:
  terminationGracePeriodSeconds: 2
  containers:
    - {name: plain, image: example.com/reviews:1}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    metadata: {labels: {sidecar.istio.io/inject: "false"}}
    spec:
      restartPolicy: Never
      containers: [{name: once, image: example.com/reviews:1, args: ["exit=0"]}]
"#;

const ROUTE: &str = r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - route: [{destination: {host: reviews}}]
"#;

/// A mesh with files and state of its own; taken down at the end, also of a failed test.
struct Story {
    folder: tempfile::TempDir,
    programs: PathBuf,
    up: Option<Child>,
}

pub(crate) fn run() {
    if !nix_is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let mut story = Story::new();
    story.refusals();
    let url = story.up();
    story.pods_and_names(&url);
    story.changes();
    story.restarts();
    story.crash();
    println!("mesh: ok");
}

fn nix_is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout == b"0\n")
}

impl Story {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("folder")
            .keep();
        let own = std::env::current_exe().expect("exe");
        for name in ["lateend", "lateen-proxy", "app"] {
            std::fs::hard_link(&own, programs.join(name)).expect("link");
        }
        let story = Self {
            folder,
            programs,
            up: None,
        };
        story.write("app.yaml", MANIFEST);
        story.write("route.yaml", ROUTE);
        story
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("exe"));
        command
            .arg("local")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("called")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(!output.status.success(), "{arguments:?} should fail");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn up_arguments(&self, files: &[&str]) -> Vec<String> {
        let image = |image: &str, program: &str| {
            format!("{image}={}", self.programs.join(program).display())
        };
        let mut arguments = vec!["up".to_owned()];
        for (name, program) in [
            ("lateend", "lateend"),
            ("proxyv2", "lateen-proxy"),
            ("reviews", "app"),
        ] {
            arguments.extend(["--set".to_owned(), image(name, program)]);
        }
        for file in files {
            arguments.extend(["-f".to_owned(), self.path(file)]);
        }
        arguments
    }

    /// Nothing starts when something is wrong, and the error names file, line and field.
    fn refusals(&self) {
        let table = [
            ("kind: [", "bad.yaml:"),
            (
                "apiVersion: v1\nkind: Srvice\nmetadata: {name: x}\n",
                "bad.yaml:2:",
            ),
            (
                "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  prots: []\n",
                "bad.yaml:5:",
            ),
            (
                &ROUTE
                    .replace("{host: reviews}", "{host: reviews, subset: v9}")
                    .replace("name: reviews}", "name: other}"),
                "v9",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n    - name: c\n      image: nowhere/unknown-thing:1\n",
                "bad.yaml:7:",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  hostNetwork: true\n  containers: [{name: c, image: reviews}]\n",
                "hostNetwork",
            ),
        ];
        for (text, said) in table {
            self.write("bad.yaml", text);
            let arguments = self.up_arguments(&["app.yaml", "bad.yaml"]);
            let error = self.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(error.contains(said), "{said:?} not in {error}");
            assert!(
                !self.folder.path().join("lateen/default").exists(),
                "nothing stays behind"
            );
        }
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
        let port = taken.local_addr().expect("address").port().to_string();
        let mut arguments = self.up_arguments(&["app.yaml"]);
        arguments.extend(["--ingress-port".to_owned(), port.clone()]);
        let error = self.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            error.contains(&port) && error.contains("--ingress-port"),
            "{error}"
        );
        assert!(
            !self.folder.path().join("lateen/default").exists(),
            "nothing stays behind"
        );
        assert!(self.fails(&["status"]).contains("no mesh named"));
    }

    /// Starts the mesh in the foreground; the ingress address.
    fn up(&mut self) -> String {
        let arguments = self.up_arguments(&["app.yaml", "route.yaml"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let out = std::fs::File::create(self.path("up.log")).expect("log");
        let mut command = self.command(&arguments);
        command
            .stdout(out.try_clone().expect("log"))
            .stderr(out)
            .stdin(Stdio::null());
        self.up = Some(command.spawn().expect("started"));
        let log = PathBuf::from(self.path("up.log"));
        let text = self.until("the mesh is up", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.contains("Press Ctrl-C").then_some(text)
        });
        println!("{text}");
        assert!(
            text.contains("spiffe://cluster.local/ns/default/sa/reviews"),
            "{text}"
        );
        let again = self.fails(&arguments);
        assert!(again.contains("already running"), "{again}");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("Ingress gateway: http://"))
            .expect("address");
        line.trim_end_matches('/').to_owned()
    }

    fn pods_and_names(&self, url: &str) {
        assert_eq!(fetch(url, "/x").expect("ingress"), "proxy /x");
        // A pod without a sidecar reaches a Service by its name and address, and both its pods are chosen.
        let mut seen = std::collections::BTreeSet::new();
        self.until("both pods answer", || {
            seen.insert(self.ok(&[
                "exec",
                "plain",
                "--",
                "/.lateen/bin/app",
                "get",
                "http://reviews:80/",
            ]));
            (seen.len() == 2).then_some(())
        });
        assert!(
            seen.iter().all(|s| s.starts_with("app v1 on reviews-v1-")),
            "{seen:?}"
        );
        // A pod may be sent to itself.
        for _ in 0..8 {
            let said = self.ok(&[
                "exec",
                "deployment/reviews-v1",
                "--",
                "/.lateen/bin/app",
                "get",
                "http://reviews:80/",
            ]);
            assert!(said.starts_with("app v1"), "{said}");
        }
        let hosts = self.ok(&[
            "exec",
            "plain",
            "--",
            "/.lateen/bin/app",
            "get",
            "http://reviews.default.svc.cluster.local:80/hosts",
        ]);
        assert!(
            hosts.contains("search default.svc.cluster.local") && hosts.contains("10.244."),
            "{hosts}"
        );
        assert!(
            self.fails(&[
                "exec",
                "plain",
                "--",
                "/.lateen/bin/app",
                "get",
                "http://absent:80/"
            ])
            .contains("absent")
        );
        let env = self.ok(&[
            "exec",
            "deployment/reviews-v1",
            "--",
            "/.lateen/bin/app",
            "get",
            "http://127.0.0.1:9080/env",
        ]);
        assert!(env.contains("COLOUR=red\n"), "{env}");
        let file = self.ok(&[
            "exec",
            "deployment/reviews-v1",
            "--",
            "/bin/cat",
            "/data/settings/colour",
        ]);
        assert_eq!(file, "red");
        // The proxy: its user, its volumes, its rules, its admin page.
        let proxy = self.ok(&[
            "exec",
            "deployment/reviews-v1",
            "-c",
            "istio-proxy",
            "--",
            "/.lateen/bin/pilot-agent",
            "wait",
        ]);
        assert_eq!(proxy, "");
        let who = self.page("deployment/reviews-v1", 15000, "/whoami");
        assert!(
            who.contains("Uid:\t1337\t1337")
                && who.contains("ip=10.244.")
                && who.contains("root=root "),
            "{who}"
        );
        assert!(
            who.contains("labels=app=\"reviews\"") && who.contains("token=ey"),
            "{who}"
        );
        let ip = who
            .lines()
            .find_map(|l| l.strip_prefix("ip="))
            .expect("ip")
            .to_owned();
        let redirected = self.ok(&[
            "exec",
            "plain",
            "--",
            "/.lateen/bin/app",
            "get",
            &format!("http://{ip}:7777/redirected"),
        ]);
        assert_eq!(redirected.trim(), "proxy /redirected");
        // Nothing was written outside.
        assert!(
            !Path::new("/.lateen").exists()
                && !Path::new("/data/settings").exists()
                && !Path::new("/etc/istio").exists()
        );
        let links = Command::new("ip")
            .args(["-o", "link"])
            .output()
            .expect("ip");
        assert!(
            !String::from_utf8_lossy(&links.stdout).contains("lateen0"),
            "the bridge is the mesh's own"
        );
        assert!(
            self.ok(&["exec", "--node", "--", "ip", "-o", "link"])
                .contains("lateen0")
        );
        assert!(
            self.ok(&["logs", "deployment/reviews-v1"])
                .contains("app v1 starts")
        );
        let status = self.ok(&["status"]);
        assert!(
            status
                .lines()
                .any(|l| l.starts_with("once-") && l.contains("Succeeded")),
            "{status}"
        );
        // What lateend is told.
        let cluster = self.page("istiod.istio-system", 8080, "/cluster");
        assert!(
            cluster.contains("endpointslice.default.reviews-0.json")
                && cluster.contains("\"port\": 9080"),
            "{cluster}"
        );
        assert!(
            self.page("istiod.istio-system", 8080, "/jwt")
                .contains("istio-ca")
        );
    }

    /// A saved file is live; one with an error changes nothing; apply and delete work; a new template rolls the pods.
    fn changes(&self) {
        let user = || self.page("istiod.istio-system", 8080, "/user");
        assert!(user().contains("== route.yaml"));
        let began = Instant::now();
        self.write(
            "route.yaml",
            &ROUTE.replace("    - route:", "    - timeout: 7s\n      route:"),
        );
        self.until("the route is live", || {
            user().contains("timeout: 7s").then_some(())
        });
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        self.write("route.yaml", &ROUTE.replace("http:", "htp:"));
        let log = PathBuf::from(self.path("up.log"));
        self.until("the error is said", || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .contains("route.yaml:7:")
                .then_some(())
        });
        assert!(user().contains("timeout: 7s"), "the last good state stays");
        self.write(
            "applied.yaml",
            &ROUTE.replace("    - route:", "    - timeout: 9s\n      route:"),
        );
        assert!(
            self.ok(&["apply", "-f", &self.path("applied.yaml")])
                .contains("virtualservice.networking.istio.io/reviews configured")
        );
        self.until("the applied route is live", || {
            (user().contains("timeout: 9s") && !user().contains("timeout: 7s")).then_some(())
        });
        self.write("route.yaml", ROUTE);
        self.until("the saved file wins", || {
            (!user().contains("timeout")).then_some(())
        });
        self.write("gone.yaml", ROUTE);
        assert!(
            self.ok(&["delete", "-f", &self.path("gone.yaml")])
                .contains("deleted")
        );
        self.until("the route is gone", || {
            (!user().contains("VirtualService")).then_some(())
        });

        let get = || {
            self.ok(&[
                "exec",
                "plain",
                "--",
                "/.lateen/bin/app",
                "get",
                "http://reviews:80/",
            ])
        };
        self.write("app.yaml", &MANIFEST.replace("value: v1", "value: v2"));
        // Each request on the way is answered: a new pod is ready before an old one ends.
        let mut last = String::new();
        self.until("all pods are new", || {
            last = get();
            let status = self.ok(&["status"]);
            let reviews: Vec<&str> = status
                .lines()
                .filter(|l| l.starts_with("reviews-v1-"))
                .collect();
            (reviews.len() == 2
                && last.starts_with("app v2")
                && reviews.iter().all(|l| l.contains("2/2")))
            .then_some(())
        });
    }

    /// A container that ends is started again; a deleted pod is replaced; readiness follows.
    fn restarts(&self) {
        self.ok(&["kill", "plain"]);
        self.until("the container is back", || {
            (self.row("plain")[2..5] == ["1/1", "Running", "1"]).then_some(())
        });
        // A restarted control plane keeps its root.
        let root = || self.page("deployment/reviews-v1", 15000, "/whoami");
        let before = root();
        self.ok(&["kill", "istiod.istio-system"]);
        self.until("lateend is back", || {
            (self.row("istiod-")[2..5] == ["1/1", "Running", "1"]).then_some(())
        });
        let root_line = |text: &str| {
            text.lines()
                .find(|l| l.starts_with("root="))
                .map(str::to_owned)
        };
        assert_eq!(root_line(&before), root_line(&root()));
        let status = self.ok(&["status"]);
        let pod = status
            .lines()
            .find_map(|l| {
                l.starts_with("reviews-v1-")
                    .then(|| l.split(' ').next().unwrap_or_default().to_owned())
            })
            .expect("pod");
        self.ok(&["delete", &format!("pod/{pod}")]);
        self.until("the pod is replaced", || {
            let status = self.ok(&["status"]);
            (!status.contains(&pod)
                && status
                    .lines()
                    .filter(|l| l.starts_with("reviews-v1-") && l.contains("2/2"))
                    .count()
                    == 2)
                .then_some(())
        });
    }

    /// kill -9 of the starting process takes everything down, and the next start works; then an orderly end.
    fn crash(&mut self) {
        let status: serde_json::Value =
            serde_json::from_str(&self.ok(&["status", "-o", "json"])).expect("json");
        let supervisor = status["supervisorPid"].as_i64().expect("process");
        if let Some(mut up) = self.up.take() {
            up.kill().expect("killed");
            let _ = up.wait();
        }
        let mut arguments = self.up_arguments(&["app.yaml"]);
        arguments.push("--detach".to_owned());
        let text = self.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(text.contains("background"), "{text}");
        assert!(
            !Path::new(&format!("/proc/{supervisor}")).exists(),
            "the old supervisor is gone"
        );
        self.ok(&["down"]);
        assert!(
            !self.folder.path().join("lateen/default").exists(),
            "nothing stays behind"
        );
        let processes = Command::new("ps")
            .args(["-eo", "args"])
            .output()
            .expect("ps");
        let left = String::from_utf8_lossy(&processes.stdout).into_owned();
        let folder = self.folder.path().display().to_string();
        assert!(!left.contains(&folder), "{left}");
    }

    /// Cells of the first pod whose name begins so.
    fn row(&self, name: &str) -> Vec<String> {
        let status = self.ok(&["status"]);
        let line = status
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {status}"));
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn page(&self, pod: &str, port: u16, path: &str) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let state = self.folder.path().to_owned();
        runtime.block_on(async move {
            let mesh = lateen_local::Mesh::find_under(&state, "default").expect("mesh");
            let bytes = match port {
                8080 => mesh.istiod_http(path).await,
                _ => mesh.proxy_admin(pod, http::Method::GET, path).await,
            };
            String::from_utf8_lossy(&bytes.expect("page")).into_owned()
        })
    }

    fn until<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(value) = check() {
                return value;
            }
            if Instant::now() > end {
                let log = std::fs::read_to_string(self.path("up.log")).unwrap_or_default();
                let status = self.call(&["status"]);
                panic!(
                    "not in time: {what}\n{log}\n{}",
                    String::from_utf8_lossy(&status.stdout)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{}",
                std::fs::read_to_string(self.path("up.log")).unwrap_or_default()
            );
        }
        let _ = self.call(&["down"]);
        if let Some(mut up) = self.up.take() {
            let _ = up.wait();
        }
        let _ = std::fs::remove_dir_all(&self.programs);
    }
}
