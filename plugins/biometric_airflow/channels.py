"""Where notices go: the log, e-mail, a webhook. Each is one of Airflow's notifiers.

Loaded by every Airflow process: nothing heavy may be imported here at module level.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from airflow.sdk import BaseNotifier

from biometric_core.config import Notifications, load_config
from biometric_core.errors import BiometricError

_log = logging.getLogger(__name__)
_WEBHOOK_SECONDS = 10.0
_LEVELS = {"alarm": logging.WARNING, "decision": logging.INFO}


@dataclass(frozen=True)
class Notice:
    """Something a person should know.

    Attributes:
        kind: alarm, decision, failure or deadline; the configuration says where each goes.
        title: one line.
        text: what happened and what to do.
        facts: figures and names, JSON-able; never a subject.
    """

    kind: str
    title: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)


class Channel(BaseNotifier):
    """A notifier of one notice.

    Args:
        notice: what is told.
        settings: where to.
    """

    template_fields = ()  # what a notice says is data, never a template

    def __init__(self, notice: Notice, settings: Notifications) -> None:
        super().__init__()
        self.notice = notice
        self.settings = settings


class LogChannel(Channel):
    """Into the log of whoever tells it: of a task, or of the DAG processor."""

    def notify(self, context: Any) -> None:
        """Write one line."""
        del context
        told = self.notice
        _log.log(_LEVELS.get(told.kind, logging.ERROR), "%s: %s", told.title, told.text)


class EmailChannel(Channel):
    """By the mail server of the Connection `notifications.smtp_connection`."""

    def notify(self, context: Any) -> None:
        """Send one message to all of `notifications.to`."""
        from airflow.providers.smtp.hooks.smtp import SmtpHook

        del context
        told = self.notice
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(_plain(value))}</td></tr>"
            for name, value in told.facts.items()
        )
        with SmtpHook(self.settings.smtp_connection) as hook:
            hook.send_email_smtp(
                to=list(self.settings.to),
                subject=f"[biometric] {told.title}",
                html_content=f"<p>{escape(told.text)}</p><table>{rows}</table>",
            )


class WebhookChannel(Channel):
    """A JSON body to the Connection `notifications.webhook_connection`; Slack shows its `text`."""

    def notify(self, context: Any) -> None:
        """Post it once.

        Raises:
            RuntimeError: nobody answers there, or with a refusal. The address is not told: it may
                hold a secret.
        """
        import httpx

        del context
        told = self.notice
        url, headers, login = self._target()
        body = {
            "text": f"*{told.title}*\n{told.text}",
            "kind": told.kind,
            "title": told.title,
            "facts": told.facts,
        }
        try:
            answer = httpx.post(
                url, json=body, headers=headers, auth=login, timeout=_WEBHOOK_SECONDS
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RuntimeError(f"nobody answers ({type(error).__name__})") from None
        if not answer.is_success:
            raise RuntimeError(f"it was refused with status {answer.status_code}")

    def _target(self) -> tuple[str, dict[str, str], tuple[str, str] | None]:
        """Address, headers and login of the Connection."""
        from airflow.sdk import Connection

        known = Connection.get(self.settings.webhook_connection)
        extra: Mapping[str, Any] = known.extra_dejson
        base = known.host or ""
        if "://" not in base:
            base = f"{known.schema or 'https'}://{base}"
        port = f":{known.port}" if known.port else ""
        login = (known.login, known.password or "") if known.login else None
        return f"{base}{port}{extra.get('path', '')}", dict(extra.get("headers", {})), login


CHANNELS: Mapping[str, type[Channel]] = {
    "log": LogChannel,
    "email": EmailChannel,
    "webhook": WebhookChannel,
}


def tell(notice: Notice, context: Any) -> None:
    """Send a notice wherever its kind is to go; raises nothing, whatever is broken.

    What a channel can't deliver is in the log instead, with the reason.

    Args:
        notice: what to tell.
        context: of the task or run that tells it.
    """
    try:
        settings = load_config().notifications
        names = getattr(settings, notice.kind)
    except BiometricError as error:  # it may be the very failure that is told
        _log.error("the configuration can't be read, so notices go to the log: %s", error)
        settings, names = Notifications(), ("log",)
    for name in names:
        try:
            CHANNELS[name](notice, settings).notify(context)
        except Exception as error:
            _log.error("a notice can't be told by %s: %s", name, _one_line(error))
            if "log" not in names:
                LogChannel(notice, settings).notify(context)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
