"""Where a search runs: profiles, what a site allows, and whether all is there before anything is queued. No torch."""

from harmony_core.site.doctor import examine
from harmony_core.site.finding import Finding
from harmony_core.site.job_request import JobRequest
from harmony_core.site.limits import Bin, Site
from harmony_core.site.profile import Profile

__all__ = ["Bin", "Finding", "JobRequest", "Profile", "Site", "examine"]
