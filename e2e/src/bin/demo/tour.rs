//! The points of the tour: each changes the mesh, calls through it and says what was seen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lateen_e2e::{Load, Mesh, eventually, sample};

/// Time for a change to reach every caller.
const SOON: Duration = Duration::from_secs(5);
const REVIEWS: &str = "http://reviews:9080/reviews/0";
const RATINGS: &str = "http://ratings:9080/ratings/0";
const FLAKY: &str = "http://httpbin:8000/flaky";

const TIMEOUT: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - timeout: 0.5s
      route: [{destination: {host: reviews, subset: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http:
    - fault: {delay: {percentage: {value: 100}, fixedDelay: 2s}}
      route: [{destination: {host: ratings, subset: v1}}]
";
const RETRY: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: [httpbin]
  http:
    - retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}
      route: [{destination: {host: httpbin}}]
";
const STRICT: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

struct Tour<'a> {
    mesh: &'a Mesh,
    page: &'a str,
}

type Point<'a> = (&'static str, fn(&Tour<'a>) -> Result<String>);

/// Walks through every point; false if one does not hold.
pub(crate) fn walk(mesh: &Mesh, page: &str) -> bool {
    let points: [Point<'_>; 9] = [
        ("The product page opens from outside", Tour::page),
        (
            "A canary: one call in five goes to reviews v2",
            Tour::canary,
        ),
        (
            "A header decides: the user jason gets reviews v2, others v1",
            Tour::header,
        ),
        (
            "An injected delay: ratings answers jason seven seconds late",
            Tour::delay,
        ),
        (
            "An injected abort: ratings answers jason with 500",
            Tour::abort,
        ),
        (
            "A timeout: callers of slow reviews wait half a second",
            Tour::timeout,
        ),
        (
            "A retry hides an app that fails every other time",
            Tour::retry,
        ),
        (
            "Plain text is served under PERMISSIVE and refused under STRICT",
            Tour::strict,
        ),
        ("The metrics of all this", Tour::metrics),
    ];
    let tour = Tour { mesh, page };
    let mut held = true;
    for (number, (title, point)) in points.iter().enumerate() {
        super::say(&format!("{}. {title}\n", number + 1));
        match point(&tour) {
            Ok(seen) => super::say(&format!("   {}\n", seen.trim_end().replace('\n', "\n   "))),
            Err(error) => {
                held = false;
                super::say(&format!("   NOT SO: {error:#}\n"));
            }
        }
    }
    held
}

impl Tour<'_> {
    fn page(&self) -> Result<String> {
        let page = eventually(SOON, || {
            let page = curl_here(self.page)?;
            ensure!(
                page.contains("Reviews served by") && page.contains("Book Details"),
                "the page is not whole:\n{page}"
            );
            Ok(page)
        })?;
        Ok(format!(
            "{} answered with {} bytes of HTML, reviews and details included",
            self.page,
            page.len()
        ))
    }

    fn canary(&self) -> Result<String> {
        self.mesh.apply_file(&sample(
            "bookinfo/networking/virtual-service-reviews-80-20.yaml",
        ))?;
        self.settle(|tour| {
            tour.reviews(60, &[])
                .map(|seen| seen.of("reviews-v3") == 0 && seen.of("reviews-v2") > 0)
        })?;
        let seen = self.reviews(200, &[])?;
        let (v1, v2) = (seen.of("reviews-v1"), seen.of("reviews-v2"));
        ensure!(
            seen.ok == 200 && v1 + v2 == 200 && (15..=70).contains(&v2),
            "200 calls: v1 {v1}, v2 {v2}; {seen:?}"
        );
        Ok(format!("200 calls: v1 {v1}, v2 {v2}, v3 0"))
    }

    fn header(&self) -> Result<String> {
        self.mesh.apply_file(&sample(
            "bookinfo/networking/virtual-service-reviews-test-v2.yaml",
        ))?;
        let jason = ["-H", "end-user:jason"];
        self.settle(|tour| {
            let (user, others) = (tour.reviews(10, &jason)?, tour.reviews(10, &[])?);
            Ok(user.of("reviews-v2") == 10 && others.of("reviews-v1") == 10)
        })?;
        let (user, others) = (self.reviews(50, &jason)?, self.reviews(50, &[])?);
        ensure!(
            user.of("reviews-v2") == 50 && others.of("reviews-v1") == 50,
            "jason {user:?}, others {others:?}"
        );
        Ok("50 calls as jason: v2 50; 50 calls as nobody: v1 50".to_owned())
    }

    fn delay(&self) -> Result<String> {
        self.mesh.apply_file(&sample(
            "bookinfo/networking/virtual-service-ratings-test-delay.yaml",
        ))?;
        let held = eventually(SOON * 4, || {
            let begin = Instant::now();
            let (status, _) = self
                .mesh
                .curl("curl", RATINGS, &["-H", "end-user: jason"])?;
            let held = begin.elapsed();
            ensure!(
                status == 200 && held >= Duration::from_secs(7),
                "status {status} after {held:.1?}"
            );
            Ok(held)
        })?;
        let begin = Instant::now();
        self.mesh.curl("curl", RATINGS, &[])?;
        let others = begin.elapsed();
        ensure!(
            others < Duration::from_secs(2),
            "others waited {others:.1?}"
        );
        Ok(format!(
            "jason waited {:.1} s, others {} ms",
            held.as_secs_f32(),
            others.as_millis()
        ))
    }

    fn abort(&self) -> Result<String> {
        self.mesh.apply_file(&sample(
            "bookinfo/networking/virtual-service-ratings-test-abort.yaml",
        ))?;
        let body = eventually(SOON, || {
            let (status, body) = self
                .mesh
                .curl("curl", RATINGS, &["-H", "end-user: jason"])?;
            ensure!(status == 500, "status {status}");
            Ok(body)
        })?;
        let (status, _) = self.mesh.curl("curl", RATINGS, &[])?;
        ensure!(status == 200, "others got status {status}");
        Ok(format!("jason got 500 ({body:?}), others 200"))
    }

    fn timeout(&self) -> Result<String> {
        self.mesh.apply(TIMEOUT)?;
        let waited = eventually(SOON, || {
            let begin = Instant::now();
            let (status, body) = self.mesh.curl("curl", REVIEWS, &[])?;
            let waited = begin.elapsed();
            ensure!(
                status == 504 && waited < Duration::from_secs(2),
                "status {status} after {waited:.1?}: {body}"
            );
            Ok(waited)
        })?;
        self.mesh.delete(TIMEOUT)?;
        Ok(format!(
            "504 after {:.1} s, though ratings takes two",
            waited.as_secs_f32()
        ))
    }

    fn retry(&self) -> Result<String> {
        let before = self.mesh.load("curl", FLAKY, &["--count", "20"])?;
        ensure!(before.status(503) == 10, "without the retry: {before:?}");
        self.mesh.apply(RETRY)?;
        let after = eventually(SOON, || {
            let after = self.mesh.load("curl", FLAKY, &["--count", "20"])?;
            ensure!(after.ok == 20, "with the retry: {after:?}");
            Ok(after)
        })?;
        Ok(format!(
            "without: {} of 20 calls failed; with retryOn 5xx: {} failed",
            before.status(503),
            20 - after.ok
        ))
    }

    fn strict(&self) -> Result<String> {
        let (permissive, _) = self.mesh.curl("legacy", REVIEWS, &[])?;
        ensure!(
            permissive == 200,
            "under PERMISSIVE the pod without sidecar got status {permissive}"
        );
        self.mesh.apply(STRICT)?;
        let refused = eventually(SOON, || {
            let output = self
                .mesh
                .exec("legacy", &["curl", "-sS", "--max-time", "5", REVIEWS])?;
            // 52, 56: the connection was ended without an answer; 6 would be a name that is not known.
            ensure!(
                matches!(output.code, 52 | 56),
                "curl ended with {}: {}",
                output.code,
                output.stderr
            );
            Ok(output.stderr)
        });
        let meshed = self.mesh.curl("curl", REVIEWS, &[]);
        self.mesh.delete(STRICT)?;
        let (refused, (meshed, _)) = (refused?, meshed?);
        ensure!(
            meshed == 200,
            "under STRICT the pod with a sidecar got status {meshed}"
        );
        Ok(format!(
            "PERMISSIVE: 200; STRICT: {}; with a sidecar still 200",
            refused.trim()
        ))
    }

    fn metrics(&self) -> Result<String> {
        let output = self
            .mesh
            .exec(
                "curl",
                &["curl", "-sS", "http://localhost:15020/stats/prometheus"],
            )?
            .ok()?;
        let mut lines: Vec<String> = output
            .stdout
            .lines()
            .filter(|line| line.starts_with("istio_requests_total{"))
            .map(|line| {
                let count = line.rsplit_once(' ').map_or("", |(_, count)| count);
                format!(
                    "{count:>6}  {} -> {} {}  {}  flags {}",
                    label(line, "source_workload"),
                    label(line, "destination_service_name"),
                    label(line, "destination_version"),
                    label(line, "response_code"),
                    label(line, "response_flags"),
                )
            })
            .collect();
        lines.sort();
        let wanted = |text: &str| {
            let found = lines.iter().any(|line| line.contains(text));
            ensure!(
                found,
                "no istio_requests_total with {text:?}:\n{}",
                lines.join("\n")
            );
            Ok(())
        };
        wanted("reviews v1  200")?;
        wanted("reviews v2  200")?;
        wanted("504  flags UT")?;
        wanted("ratings unknown  500  flags FI")?;
        Ok(format!(
            "istio_requests_total of the pod curl:\n{}",
            lines.join("\n")
        ))
    }

    fn reviews(&self, count: u32, extra: &[&str]) -> Result<Load> {
        let count = count.to_string();
        let mut arguments = vec!["--count", &count];
        for version in ["reviews-v1", "reviews-v2", "reviews-v3"] {
            arguments.extend(["--tally", version]);
        }
        arguments.extend(extra);
        self.mesh.load("curl", REVIEWS, &arguments)
    }

    fn settle(&self, condition: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        eventually(SOON, || {
            ensure!(condition(self)?, "the change is not seen by callers");
            Ok(())
        })
    }
}

fn label<'a>(line: &'a str, name: &str) -> &'a str {
    let rest = line
        .split_once(&format!("{name}=\""))
        .map_or("", |(_, rest)| rest);
    rest.split_once('"').map_or("", |(value, _)| value)
}

fn curl_here(url: &str) -> Result<String> {
    let output = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", url])
        .output()
        .context("curl")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
